// Whole sequences of different lengths, layer by layer: all timesteps' input products in passes over
// many rows, then the recurrence. Padding is never touched.
#include <algorithm>
#include <new>

#include "network.h"

using namespace rk;

namespace {

// Timesteps are taken together until they have so many rows: enough for full passes over the
// weights, few enough for their products to stay in the cache.
constexpr int CHUNK_ROWS = 128;
constexpr int64_t MOST_SHARED_BYTES = 8 << 20;

struct Call {
    const rk_network* net;
    rk_pool* pool;
    int rows, longest;
    int all_rows;  // of the caller: `rows` may be some of them
    const int64_t* tokens;
    const float* inputs;
    const float *hidden_in, *cell_in;
    float *hidden_out, *cell_out, *outputs, *logits;
    // Rows in the order of falling length; `starts` are positions in the layers' own outputs.
    int* caller_row;
    int64_t *lengths, *offsets, *starts;
    int* batch_sizes;  // [longest] rows that have a timestep
    int most_chunk_rows;
    float* layer_outputs[2];  // [positions, width]
    float* products;          // [directions, most_chunk_rows, panel floats]
    float* memory;            // [directions, rows, H]
    float* zeros;             // [H]
    float* best;              // [threads, rows], not used
    int64_t* best_token;
    struct Own {
        char* prepared;
        Row *inputs, *hidden;
        CellRow* states;
        const float** products;
        float** logits;
    };
    Own* own;

    int64_t timestep(int direction, int row, int step) const {
        return direction ? lengths[row] - 1 - step : step;
    }
};

// One layer as one thread sees it.
struct Pass {
    const Call& c;
    const size_t index;
    const Layer& layer;
    float* own_outputs;
    const float* inputs_before;  // outputs of the layer below
    int thread, threads;

    const float* input(int row, int64_t t) const {
        if (index) return inputs_before + (size_t)(c.starts[row] + t) * layer.inputs;
        size_t at = (size_t)(c.offsets[row] + t);
        return c.tokens ? c.net->embedding.data() + (size_t)c.tokens[at] * layer.inputs
                        : c.inputs + at * layer.inputs;
    }
    float* hidden(int direction, int row, int64_t t) const {
        return own_outputs + (size_t)(c.starts[row] + t) * c.net->width() +
               direction * c.net->hidden_size;
    }
    const float* start(int direction, int row) const {
        if (direction || !c.hidden_in) return c.zeros;
        return c.hidden_in + (index * c.all_rows + c.caller_row[row]) * (size_t)c.net->hidden_size;
    }
    float* memory(int direction, int row) const {
        return c.memory + ((size_t)direction * c.rows + row) * c.net->hidden_size;
    }
    float* products(int direction) const {
        return c.products + (size_t)direction * c.most_chunk_rows * c.net->panels() *
                                c.net->cell->shape.floats();
    }
};

void begin_memory(const Pass& p) {
    const Call& c = p.c;
    const size_t bytes = (size_t)c.net->hidden_size * 4;
    Share share(c.rows, p.thread, p.threads);
    for (int direction = 0; direction < c.net->directions; direction++)
        for (int row = share.first; row < share.last; row++) {
            const float* from = c.zeros;
            if (!direction && c.cell_in)
                from = c.cell_in + (p.index * c.all_rows + c.caller_row[row]) * (size_t)c.net->hidden_size;
            memcpy(p.memory(direction, row), from, bytes);
        }
}

// Input products of timesteps first to last, for the panels that this thread also advances.
void project(const Pass& p, int direction, Share panels, int first, int last) {
    const rk_network& net = *p.c.net;
    Call::Own& own = p.c.own[p.thread];
    const size_t bytes = prepared_bytes(net.precision, p.layer.inputs);
    int count = 0;
    for (int step = first; step < last; step++)
        for (int row = 0; row < p.c.batch_sizes[step]; row++, count++)
            own.inputs[count] =
                prepare(net.precision, p.input(row, p.c.timestep(direction, row, step)),
                        p.layer.inputs, own.prepared + count * bytes);
    net.project(p.layer.directions[direction], panels.first, panels.last, count, own.inputs,
                p.products(direction));
}

void advance(const Pass& p, int direction, Share panels, int step, int chunk_row) {
    const Call& c = p.c;
    const rk_network& net = *c.net;
    const Direction& d = p.layer.directions[direction];
    Call::Own& own = c.own[p.thread];
    const size_t bytes = prepared_bytes(net.precision, net.hidden_size);
    const size_t floats = (size_t)net.panels() * net.cell->shape.floats();
    const int count = c.batch_sizes[step];
    for (int row = 0; row < count; row++) {
        int64_t t = c.timestep(direction, row, step);
        const float* before =
            step ? p.hidden(direction, row, c.timestep(direction, row, step - 1))
                 : p.start(direction, row);
        float* memory = c.memory ? p.memory(direction, row) : nullptr;
        own.states[row] = {before, p.hidden(direction, row, t), memory, memory};
        if (net.cell->recurrent)
            own.hidden[row] =
                prepare(net.precision, before, net.hidden_size, own.prepared + row * bytes);
        own.products[row] =
            d.table ? d.table.data() + (size_t)c.tokens[c.offsets[row] + t] * floats
                    : p.products(direction) + (size_t)(chunk_row + row) * floats;
    }
    net.advance(d, panels.first, panels.last, {count, own.products, nullptr, own.hidden, own.states});
}

void keep_states(const Pass& p) {
    const Call& c = p.c;
    const size_t H = (size_t)c.net->hidden_size;
    Share share(c.rows, p.thread, p.threads);
    for (int row = share.first; row < share.last; row++) {
        size_t place = (p.index * c.all_rows + c.caller_row[row]) * H;
        if (c.hidden_out)
            memcpy(c.hidden_out + place, p.hidden(0, row, c.lengths[row] - 1), H * 4);
        if (c.cell_out) memcpy(c.cell_out + place, p.memory(0, row), H * 4);
    }
}

void finish(const Pass& p) {
    const Call& c = p.c;
    Share share(c.rows, p.thread, p.threads);
    for (int row = share.first; row < share.last; row++)
        for (int64_t t = 0; t < c.lengths[row]; t++) {
            float* out = p.hidden(0, row, t);
            c.net->finish(p.layer, out, p.layer.residual ? p.input(row, t) : nullptr, out);
        }
}

void run_layer(const Pass& p) {
    const Call& c = p.c;
    const rk_network& net = *c.net;
    const int panels = net.panels();
    Share items(net.directions * panels, p.thread, p.threads);
    auto panels_of = [&](int direction) {
        Share share(0, 0, 1);
        share.first = std::min(std::max(items.first - direction * panels, 0), panels);
        share.last = std::min(std::max(items.last - direction * panels, 0), panels);
        return share;
    };
    // Whether a timestep reads what another thread wrote at the one before.
    const bool shared = net.cell->recurrent && p.threads != net.directions;
    if (c.memory) {
        begin_memory(p);
        c.pool->barrier(p.threads);
    }
    for (int first = 0, last; first < c.longest; first = last) {
        int rows = c.batch_sizes[first];
        for (last = first + 1; last < c.longest; last++) {
            if (rows + c.batch_sizes[last] > CHUNK_ROWS) break;
            rows += c.batch_sizes[last];
        }
        for (int direction = 0; direction < net.directions; direction++) {
            Share own = panels_of(direction);
            if (own.first < own.last && !p.layer.directions[direction].table)
                project(p, direction, own, first, last);
        }
        for (int step = first, chunk_row = 0; step < last; chunk_row += c.batch_sizes[step++]) {
            for (int direction = 0; direction < net.directions; direction++) {
                Share own = panels_of(direction);
                if (own.first < own.last) advance(p, direction, own, step, chunk_row);
            }
            if (shared || step + 1 == c.longest) c.pool->barrier(p.threads);
        }
    }
    keep_states(p);
    if (p.layer.finished()) {
        c.pool->barrier(p.threads);
        finish(p);
        c.pool->barrier(p.threads);
    }
}

void answer(const Pass& top) {
    const Call& c = top.c;
    const rk_network& net = *c.net;
    const size_t width = (size_t)net.width();
    Share share(c.rows, top.thread, top.threads);
    if (c.outputs)
        for (int row = share.first; row < share.last; row++)
            memcpy(c.outputs + (size_t)c.offsets[row] * width, top.hidden(0, row, 0),
                   (size_t)c.lengths[row] * width * 4);
    if (!c.logits) return;
    Call::Own& own = c.own[top.thread];
    const size_t bytes = prepared_bytes(net.precision, net.width());
    for (int row = 0; row < c.rows; row++) {
        own.hidden[row] = prepare(net.precision, top.hidden(0, row, c.lengths[row] - 1),
                                  net.width(), own.prepared + row * bytes);
        own.logits[row] = c.logits + (size_t)c.caller_row[row] * net.outputs;
    }
    Share panels(net.output.panels(), top.thread, top.threads);
    net.score(panels.first, panels.last, c.rows, own.hidden, own.logits,
              c.best + top.thread * c.rows, c.best_token + top.thread * c.rows);
}

void run(const Call& c, int thread, int threads) {
    const float* below = nullptr;
    for (size_t l = 0; l < c.net->layers.size(); l++) {
        Pass pass{c, l, c.net->layers[l], c.layer_outputs[l & 1], below, thread, threads};
        run_layer(pass);
        below = pass.own_outputs;
        if (l + 1 == c.net->layers.size()) answer(pass);
    }
}

// All threads share the rows, each does some panels: they meet at every timestep.
void run_panels(void* context, int thread, int threads) {
    run(*static_cast<const Call*>(context), thread, threads);
}

// Each thread has rows of its own and meets nobody.
void run_rows(void* context, int thread, int) {
    run(static_cast<const Call*>(context)[thread], 0, 1);
}

// Takes every `stride`th of the rows in `order`, from `first` on.
void take_rows(Call& c, Arena& arena, const int* order, int first, int stride, int count,
               const int64_t* offsets, const int64_t* lengths) {
    c.rows = (count - first + stride - 1) / stride;
    const size_t B = (size_t)c.rows;
    c.caller_row = arena.take<int>(B);
    c.lengths = arena.take<int64_t>(B);
    c.offsets = arena.take<int64_t>(B);
    c.starts = arena.take<int64_t>(B);
    int64_t start = 0;
    for (int row = 0; row < c.rows; row++) {
        c.caller_row[row] = order[first + row * stride];
        c.lengths[row] = lengths[c.caller_row[row]];
        c.offsets[row] = offsets[c.caller_row[row]];
        c.starts[row] = start;
        start += c.lengths[row];
    }
    c.longest = (int)c.lengths[0];
    c.batch_sizes = arena.take<int>((size_t)c.longest);
    for (int step = 0, active = c.rows; step < c.longest; step++) {
        while (c.lengths[active - 1] <= step) active--;
        c.batch_sizes[step] = active;
    }
    c.most_chunk_rows = std::max(c.rows, CHUNK_ROWS);
    for (float*& buffer : c.layer_outputs)
        buffer = arena.take<float>((size_t)start * c.net->width());
}

void take_scratch(Call& c, Arena& arena, int threads) {
    const rk_network& net = *c.net;
    const size_t B = (size_t)c.rows, chunk = (size_t)c.most_chunk_rows;
    const size_t H = (size_t)net.hidden_size;
    c.products = arena.take<float>((size_t)net.directions * chunk * net.panels() *
                                   net.cell->shape.floats());
    if (net.cell == &lstm) c.memory = arena.take<float>((size_t)net.directions * B * H);
    c.zeros = arena.take<float>(H);
    memset(c.zeros, 0, H * 4);
    c.best = arena.take<float>(B * threads);
    c.best_token = arena.take<int64_t>(B * threads);
    size_t prepared = B * prepared_bytes(net.precision, net.width());
    for (const Layer& layer : net.layers)
        prepared = std::max(prepared, chunk * prepared_bytes(net.precision, layer.inputs));
    c.own = arena.take<Call::Own>((size_t)threads);
    for (int t = 0; t < threads; t++) {
        c.own[t].prepared = arena.take<char>(prepared + 64);
        c.own[t].inputs = arena.take<Row>(chunk);
        c.own[t].hidden = arena.take<Row>(B);
        c.own[t].states = arena.take<CellRow>(B);
        c.own[t].products = arena.take<const float*>(B);
        c.own[t].logits = arena.take<float*>(B);
    }
}

}  // namespace

RK_EXPORT int rk_sequences(const rk_network* net, rk_pool* pool, int rows, const int64_t* offsets,
                           const int64_t* lengths, const int64_t* tokens, const float* inputs,
                           const float* hidden_in, const float* cell_in, float* hidden_out,
                           float* cell_out, float* outputs, float* logits) {
    if (rows < 0 || (logits && !net->outputs)) return RK_ARGUMENT_ERROR;
    if (rows == 0) return RK_OK;  // arrays of nothing may be NULL
    if (!offsets || !lengths || (net->vocabulary ? !tokens : !inputs)) return RK_ARGUMENT_ERROR;
    for (int row = 0; row < rows; row++) {
        if (lengths[row] < 1 || lengths[row] > INT32_MAX || offsets[row] < 0)
            return RK_ARGUMENT_ERROR;
        if (net->vocabulary && !net->valid_tokens(tokens + offsets[row], lengths[row]))
            return RK_ARGUMENT_ERROR;
    }
    try {
        Call whole = {};
        whole.net = net, whole.pool = pool, whole.all_rows = rows;
        whole.tokens = net->vocabulary ? tokens : nullptr;
        whole.inputs = net->vocabulary ? nullptr : inputs;
        whole.hidden_in = hidden_in, whole.cell_in = cell_in;
        whole.hidden_out = hidden_out, whole.cell_out = cell_out;
        whole.outputs = outputs, whole.logits = logits;
        Arena& arena = pool->arena;
        arena.reset();
        int* order = arena.take<int>((size_t)rows);
        for (int row = 0; row < rows; row++) order[row] = row;
        std::sort(order, order + rows, [&](int a, int b) {
            return lengths[a] != lengths[b] ? lengths[a] > lengths[b] : a < b;
        });
        const int threads = worth_threads((double)rows * net->directions * net->cell->shape.gates *
                                              net->hidden_size * net->hidden_size,
                                          pool->threads());
        // Where the weights stay in the cache, every thread may read all of them.
        const bool by_rows = rows >= threads && net->layers.back().directions[0].recurrent.bytes() <=
                                                    MOST_SHARED_BYTES;
        const int calls = by_rows ? threads : 1;
        Call* call = arena.take<Call>((size_t)calls);
        for (int i = 0; i < calls; i++) {
            call[i] = whole;
            take_rows(call[i], arena, order, i, calls, rows, offsets, lengths);
            take_scratch(call[i], arena, by_rows ? 1 : threads);
        }
        pool->run(threads, by_rows ? run_rows : run_panels, call);
        return RK_OK;
    } catch (const std::bad_alloc&) {
        return RK_MEMORY_ERROR;
    }
}
