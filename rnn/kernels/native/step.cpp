// Timesteps of a few rows: for sessions and generated text.
#include <new>

#include "network.h"

using namespace rk;

namespace {

struct Call {
    const rk_network* net;
    rk_pool* pool;
    int rows, steps;
    const int64_t* tokens;
    const float* inputs;
    bool greedy;
    const float* hidden_in;
    const float* cell_in;
    float* hidden_out;
    float* cell_out;
    float* output;
    float* logits;
    int64_t* drawn;
    // Shared scratch
    float* between[2];  // [layers, rows, H] hidden states between two steps
    float* finished[2];  // [rows, width] layer outputs that are not hidden states
    int64_t* best_token;  // [threads, rows]
    float* best;
    // Scratch of each thread
    struct Own {
        char* prepared;
        Row *inputs, *hidden;
        CellRow* states;
        const float** products;
        float** logits;
    };
    Own* own;
    size_t prepared_hidden;

    size_t state_floats() const { return net->layers.size() * (size_t)rows * net->hidden_size; }
};

const float* token_row(const Buffer<float>& table, int64_t token, size_t width) {
    return table.data() + token * width;
}

void advance_layer(const Call& c, size_t index, const int64_t* tokens, const float* inputs,
                   const float* from, float* to, const float* cell_in, int thread, int threads) {
    const rk_network& net = *c.net;
    const Layer& layer = net.layers[index];
    const Direction& d = layer.directions[0];
    const size_t H = (size_t)net.hidden_size, base = index * c.rows * H;
    Share share(net.panels(), thread, threads);
    if (share.first == share.last) return;
    Call::Own& own = c.own[thread];
    const size_t table_width = (size_t)net.panels() * net.cell->shape.floats();
    const size_t input_bytes = prepared_bytes(net.precision, layer.inputs);
    for (int b = 0; b < c.rows; b++) {
        size_t at = base + b * H;
        own.states[b] = {from + at, to + at, c.cell_out ? cell_in + at : nullptr,
                         c.cell_out ? c.cell_out + at : nullptr};
        if (net.cell->recurrent)
            own.hidden[b] = prepare(net.precision, from + at, net.hidden_size,
                                    own.prepared + b * c.prepared_hidden);
        if (d.table) {
            own.products[b] = token_row(d.table, tokens[b], table_width);
        } else {
            const float* x = index == 0 && tokens
                                 ? token_row(net.embedding, tokens[b], (size_t)layer.inputs)
                                 : inputs + (size_t)b * layer.inputs;
            own.inputs[b] = prepare(net.precision, x, layer.inputs,
                                    own.prepared + c.rows * c.prepared_hidden + b * input_bytes);
        }
    }
    net.advance(d, share.first, share.last,
                {c.rows, d.table ? own.products : nullptr, own.inputs, own.hidden, own.states});
}

void finish_layer(const Call& c, size_t index, const int64_t* tokens, const float* inputs,
                  const float* hidden, float* out, int thread, int threads) {
    const rk_network& net = *c.net;
    const Layer& layer = net.layers[index];
    Share share(c.rows, thread, threads);
    for (int b = share.first; b < share.last; b++) {
        const float* x = nullptr;
        if (layer.residual)
            x = index == 0 && tokens ? token_row(net.embedding, tokens[b], (size_t)layer.inputs)
                                     : inputs + (size_t)b * layer.inputs;
        net.finish(layer, hidden + (size_t)b * net.width(), x, out + (size_t)b * net.width());
    }
}

void score_rows(const Call& c, const float* top, float* logits, int thread, int threads) {
    const rk_network& net = *c.net;
    Share share(net.output.panels(), thread, threads);
    Call::Own& own = c.own[thread];
    const size_t bytes = prepared_bytes(net.precision, net.width());
    for (int b = 0; b < c.rows; b++) {
        own.hidden[b] = prepare(net.precision, top + (size_t)b * net.width(), net.width(),
                                own.prepared + b * bytes);
        own.logits[b] = logits ? logits + (size_t)b * net.outputs : nullptr;
    }
    net.score(share.first, share.last, c.rows, own.hidden, logits ? own.logits : nullptr,
              c.best + thread * c.rows, c.best_token + thread * c.rows);
}

// The best token of each row over all threads' shares; of equals the first.
void draw(const Call& c, int step, int threads) {
    for (int b = 0; b < c.rows; b++) {
        int winner = 0;
        for (int t = 1; t < threads; t++)
            if (c.best[t * c.rows + b] > c.best[winner * c.rows + b]) winner = t;
        int64_t token = c.best_token[winner * c.rows + b];
        if (c.drawn) c.drawn[(size_t)step * c.rows + b] = token;
        c.best_token[b] = token;  // read by the next step: the place of thread 0
    }
}

void work(void* context, int thread, int threads) {
    const Call& c = *static_cast<const Call*>(context);
    const rk_network& net = *c.net;
    const float* from = c.hidden_in;
    const float* cell_in = c.cell_in;
    for (int step = 0; step < c.steps; step++) {
        const bool last = step + 1 == c.steps;
        float* to = last ? c.hidden_out : c.between[step & 1];
        const int64_t* tokens = c.tokens;
        if (tokens) {
            if (!c.greedy)
                tokens += (size_t)step * c.rows;
            else if (step)
                tokens = c.best_token;
        }
        const float* x =
            c.inputs ? c.inputs + (size_t)step * c.rows * net.layers[0].inputs : nullptr;
        for (size_t l = 0; l < net.layers.size(); l++) {
            advance_layer(c, l, tokens, x, from, to, cell_in, thread, threads);
            c.pool->barrier(threads);
            const float* hidden = to + l * c.rows * net.hidden_size;
            if (net.layers[l].finished()) {
                finish_layer(c, l, tokens, x, hidden, c.finished[l & 1], thread, threads);
                c.pool->barrier(threads);
                hidden = c.finished[l & 1];
            }
            x = hidden;
        }
        if (last && c.output && thread == 0)
            memcpy(c.output, x, (size_t)c.rows * net.width() * 4);
        if (c.greedy || (last && c.logits)) {
            score_rows(c, x, last ? c.logits : nullptr, thread, threads);
            c.pool->barrier(threads);
            if (c.greedy) {
                if (thread == 0) draw(c, step, threads);
                c.pool->barrier(threads);
            }
        }
        from = to;
        cell_in = c.cell_out;
    }
}

}  // namespace

RK_EXPORT int rk_step(const rk_network* net, rk_pool* pool, int rows, int steps,
                      const int64_t* tokens, const float* inputs, int greedy,
                      const float* hidden_in, const float* cell_in, float* hidden_out,
                      float* cell_out, float* output, float* logits, int64_t* drawn) {
    if (rows < 0 || steps < 1 || net->directions != 1 || (greedy && !net->vocabulary) ||
        ((greedy || logits) && !net->outputs))
        return RK_ARGUMENT_ERROR;
    if (rows == 0) return RK_OK;  // arrays of nothing may be NULL
    if ((net->vocabulary ? !tokens : !inputs) || !hidden_in || !hidden_out ||
        (net->cell == &lstm) != (cell_out != nullptr) || (cell_out && !cell_in))
        return RK_ARGUMENT_ERROR;
    if (net->vocabulary && !net->valid_tokens(tokens, (int64_t)rows * (greedy ? 1 : steps)))
        return RK_ARGUMENT_ERROR;
    if (greedy && net->outputs > net->vocabulary) return RK_ARGUMENT_ERROR;
    try {
        Call c = {};
        c.net = net, c.pool = pool, c.rows = rows, c.steps = steps, c.greedy = greedy != 0;
        c.tokens = net->vocabulary ? tokens : nullptr;
        c.inputs = net->vocabulary ? nullptr : inputs;
        c.hidden_in = hidden_in, c.cell_in = cell_in;
        c.hidden_out = hidden_out, c.cell_out = cell_out;
        c.output = output, c.logits = logits, c.drawn = drawn;
        const size_t B = (size_t)rows, width = (size_t)net->width();
        int threads = worth_threads(
            (double)rows * net->cell->shape.gates * net->hidden_size * 2 * net->hidden_size,
            pool->threads());
        Arena& arena = pool->arena;
        arena.reset();
        size_t prepared_input = 0;
        bool finished = false;
        for (const Layer& layer : net->layers) {
            size_t bytes = prepared_bytes(net->precision, layer.inputs);
            if (bytes > prepared_input) prepared_input = bytes;
            finished = finished || layer.finished();
        }
        c.prepared_hidden = prepared_bytes(net->precision, net->hidden_size);
        if (steps > 1)
            for (float*& buffer : c.between) buffer = arena.take<float>(c.state_floats());
        if (finished)
            for (float*& buffer : c.finished) buffer = arena.take<float>(B * width);
        if (hidden_in == hidden_out && steps == 1) {  // rows are still read while others are written
            float* copy = arena.take<float>(c.state_floats());
            memcpy(copy, hidden_in, c.state_floats() * 4);
            c.hidden_in = copy;
        }
        c.best = arena.take<float>(B * threads);
        c.best_token = arena.take<int64_t>(B * threads);
        c.own = arena.take<Call::Own>((size_t)threads);
        for (int t = 0; t < threads; t++) {
            c.own[t].prepared = arena.take<char>(B * (c.prepared_hidden + prepared_input) + 64);
            c.own[t].inputs = arena.take<Row>(B);
            c.own[t].hidden = arena.take<Row>(B);
            c.own[t].states = arena.take<CellRow>(B);
            c.own[t].products = arena.take<const float*>(B);
            c.own[t].logits = arena.take<float*>(B);
        }
        pool->run(threads, work, &c);
        return RK_OK;
    } catch (const std::bad_alloc&) {
        return RK_MEMORY_ERROR;
    }
}
