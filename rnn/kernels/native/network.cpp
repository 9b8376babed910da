// Building a network, and what one thread does for a few rows and panels of it.
#include "network.h"

#include <new>

using namespace rk;

namespace {

// A folded table larger than this costs more memory than it saves time: embedding rows are
// multiplied instead.
constexpr size_t MOST_TABLE_BYTES = size_t(32) << 20;
constexpr PanelShape OUTPUT_SHAPE = {1, 4};

// Rows of the next pass over a panel: as equal as can be, so that none is left with a single row.
int next_rows(int left) {
    int passes = (left + MOST_ROWS - 1) / MOST_ROWS;
    return (left + passes - 1) / passes;
}

int next_panels(int left, int rows) {
    return rows > 1 ? 1 : left < MOST_PANELS ? left : MOST_PANELS;
}

void add(float* sums, const float* values, int count) {
    for (int i = 0; i < count; i += W) store(sums + i, load(sums + i) + load(values + i));
}

}  // namespace

bool rk_network::valid_tokens(const int64_t* tokens, int64_t count) const {
    for (int64_t i = 0; i < count; i++)
        if (tokens[i] < 0 || tokens[i] >= vocabulary) return false;
    return true;
}

void rk_network::advance(const Direction& d, int first, int last, const Timestep& step) const {
    alignas(64) float sums[MOST_SUMS], input_new[MOST_SUMS / 3];
    const int floats = cell->shape.floats();
    for (int panel = first, panels; panel < last; panel += panels) {
        panels = next_panels(last - panel, step.count);
        for (int row = 0, rows; row < step.count; row += rows) {
            rows = next_rows(step.count - row);
            for (int r = 0; r < rows; r++) {
                const float* start = step.products ? step.products[row + r] : d.bias.data();
                memcpy(sums + r * floats, start + panel * floats, (size_t)panels * floats * 4);
            }
            if (!step.products) d.input.add_product(panel, panels, rows, step.inputs + row, sums);
            if (cell->separate_new)
                for (int i = 0; i < rows * panels; i++) {
                    float* place = sums + i * floats + floats - W;
                    int of = rows > 1 ? panel : panel + i;
                    memcpy(input_new + i * W, place, W * 4);
                    memcpy(place, d.new_bias.data() + of * W, W * 4);
                }
            if (cell->recurrent)
                d.recurrent.add_product(panel, panels, rows, step.hidden + row, sums);
            const int units = cell->shape.units();
            for (int p = 0; p < panels; p++)
                cell->advance(sums + p * floats, input_new + p * W, (panel + p) * units, hidden_size,
                              step.states + row, rows);
        }
    }
}

void rk_network::project(const Direction& d, int first, int last, int count, const Row* inputs,
                         float* products) const {
    alignas(64) float sums[MOST_SUMS];
    const int floats = cell->shape.floats();
    const size_t stride = (size_t)this->panels() * floats;
    for (int panel = first, panels; panel < last; panel += panels) {
        panels = next_panels(last - panel, count);
        for (int row = 0, rows; row < count; row += rows) {
            rows = next_rows(count - row);
            const size_t bytes = (size_t)panels * floats * 4;
            for (int r = 0; r < rows; r++)
                memcpy(sums + r * floats, d.bias.data() + panel * floats, bytes);
            d.input.add_product(panel, panels, rows, inputs + row, sums);
            for (int r = 0; r < rows; r++)
                memcpy(products + (row + r) * stride + panel * floats, sums + r * floats, bytes);
        }
    }
}

void rk_network::finish(const Layer& layer, const float* hidden, const float* input,
                        float* out) const {
    const int n = width();
    float scale = 1, mean = 0;
    if (layer.norm_scale) {
        double sum = 0, squares = 0;
        for (int i = 0; i < n; i++) sum += hidden[i];
        mean = (float)(sum / n);
        for (int i = 0; i < n; i++) squares += (double)(hidden[i] - mean) * (hidden[i] - mean);
        scale = 1 / sqrtf((float)(squares / n) + layer.norm_epsilon);
    }
    for (int i = 0; i < n; i++) {
        float y = hidden[i];
        if (layer.norm_scale) y = (y - mean) * scale * layer.norm_scale[i] + layer.norm_shift[i];
        out[i] = layer.residual ? input[i] + y : y;
    }
}

void rk_network::score(int first, int last, int count, const Row* rows_of, float* const* logits,
                       float* best, int64_t* best_token) const {
    alignas(64) float sums[MOST_SUMS];
    const int floats = OUTPUT_SHAPE.floats();
    for (int row = 0; row < count; row++) {
        best[row] = -INFINITY;
        best_token[row] = first * floats < outputs ? first * floats : 0;
    }
    for (int panel = first, panels; panel < last; panel += panels) {
        panels = next_panels(last - panel, count);
        for (int row = 0, rows; row < count; row += rows) {
            rows = next_rows(count - row);
            memset(sums, 0, sizeof sums);
            output.add_product(panel, panels, rows, rows_of + row, sums);
            for (int r = 0; r < rows; r++) {
                float* own = sums + r * floats;
                add(own, output_bias.data() + panel * floats, panels * floats);
                int from = panel * floats, n = panels * floats;
                if (from + n > outputs) n = outputs - from;
                if (logits) memcpy(logits[row + r] + from, own, (size_t)n * 4);
                for (int i = 0; i < n; i += W) {
                    if (!any_above(load(own + i), best[row + r])) continue;
                    for (int j = i; j < n && j < i + W; j++)
                        if (own[j] > best[row + r]) {
                            best[row + r] = own[j];
                            best_token[row + r] = from + j;
                        }
                }
            }
        }
    }
}

// ---- building ------------------------------------------------------------------------------------

namespace {

template <class Work>
int guarded(Work work) {
    try {
        return work();
    } catch (const std::bad_alloc&) {
        return RK_MEMORY_ERROR;
    }
}

Buffer<float> copy_of(const float* values, size_t count) {
    Buffer<float> copy(count);
    memcpy(copy.data(), values, count * 4);
    return copy;
}

}  // namespace

RK_EXPORT rk_network* rk_network_new(int kind, int precision, int layers, int directions,
                                     int input_size, int hidden_size, int residual) {
    const Cell* cell = cell_of(kind);
    if (!cell || precision < RK_FLOAT32 || precision > RK_INT8 || layers < 1 || directions < 1 ||
        directions > 2 || input_size < 0 || hidden_size < 1)
        return nullptr;
    try {
        rk_network* net = new rk_network();
        net->cell = cell;
        net->precision = precision;
        net->hidden_size = hidden_size;
        net->directions = directions;
        net->residual = residual != 0;
        net->layers.resize((size_t)layers);
        int inputs = input_size;
        for (Layer& layer : net->layers) {
            layer.inputs = inputs;
            layer.residual = residual && inputs == net->width();
            inputs = net->width();
        }
        return net;
    } catch (const std::bad_alloc&) {
        return nullptr;
    }
}

RK_EXPORT void rk_network_free(rk_network* net) { delete net; }

RK_EXPORT int rk_network_set_tokens(rk_network* net, int vocabulary, int embedding_size,
                                    const float* embedding) {
    if (vocabulary < 1 || embedding_size < 1) return RK_ARGUMENT_ERROR;
    return guarded([&] {
        net->vocabulary = vocabulary;
        Layer& layer = net->layers[0];
        layer.inputs = embedding_size;
        layer.residual = net->residual && embedding_size == net->width();
        net->embedding = copy_of(embedding, (size_t)vocabulary * embedding_size);
        return RK_OK;
    });
}

RK_EXPORT int rk_network_set_layer(rk_network* net, int index, int direction,
                                   const float* input_weight, const float* recurrent_weight,
                                   const float* input_bias, const float* recurrent_bias) {
    if (index < 0 || index >= (int)net->layers.size() || direction < 0 ||
        direction >= net->directions || !input_weight || !input_bias ||
        (net->cell->recurrent && (!recurrent_weight || !recurrent_bias)))
        return RK_ARGUMENT_ERROR;
    return guarded([&] {
        const PanelShape shape = net->cell->shape;
        const int units = net->hidden_size, gates = shape.gates;
        Layer& layer = net->layers[(size_t)index];
        Direction& d = layer.directions[direction];
        std::vector<float> bias(input_bias, input_bias + (size_t)gates * units);
        if (net->cell->recurrent) {
            int joined = net->cell->separate_new ? gates - 1 : gates;
            for (int i = 0; i < joined * units; i++) bias[(size_t)i] += recurrent_bias[i];
            d.recurrent = Matrix(net->precision, shape, units, units, recurrent_weight, units, 1);
            if (net->cell->separate_new)
                d.new_bias = in_panels({1, 1}, units, recurrent_bias + (size_t)joined * units);
        }
        d.bias = in_panels(shape, units, bias.data());
        const size_t floats = (size_t)net->panels() * shape.floats();
        if (index > 0 || !net->vocabulary || floats * net->vocabulary * 4 > MOST_TABLE_BYTES) {
            d.input = Matrix(net->precision, shape, units, layer.inputs, input_weight,
                             layer.inputs, 1);
            return RK_OK;
        }
        // The table is read once a timestep, never multiplied: it stays float32.
        Direction folded;
        folded.input = Matrix(RK_FLOAT32, shape, units, layer.inputs, input_weight, layer.inputs, 1);
        folded.bias = copy_of(d.bias.data(), floats);
        d.table = Buffer<float>(floats * net->vocabulary);
        std::vector<Row> rows((size_t)net->vocabulary);
        for (int token = 0; token < net->vocabulary; token++)
            rows[(size_t)token] = {net->embedding.data() + (size_t)token * layer.inputs, 1};
        net->project(folded, 0, net->panels(), net->vocabulary, rows.data(), d.table.data());
        return RK_OK;
    });
}

RK_EXPORT int rk_network_set_norm(rk_network* net, int index, const float* scale,
                                  const float* shift, float epsilon) {
    if (index < 0 || index >= (int)net->layers.size()) return RK_ARGUMENT_ERROR;
    return guarded([&] {
        Layer& layer = net->layers[(size_t)index];
        layer.norm_scale = copy_of(scale, (size_t)net->width());
        layer.norm_shift = copy_of(shift, (size_t)net->width());
        layer.norm_epsilon = epsilon;
        return RK_OK;
    });
}

RK_EXPORT int rk_network_set_output(rk_network* net, int outputs, const float* weight,
                                    const float* bias) {
    if (outputs < 1) return RK_ARGUMENT_ERROR;
    return guarded([&] {
        net->outputs = outputs;
        net->output = Matrix(net->precision, OUTPUT_SHAPE, outputs, net->width(), weight,
                             (size_t)net->width(), 1);
        net->output_bias = in_panels(OUTPUT_SHAPE, outputs, bias);
        return RK_OK;
    });
}

RK_EXPORT int64_t rk_network_step_bytes(const rk_network* net) {
    int64_t bytes = net->output.bytes();
    for (const Layer& layer : net->layers)
        for (const Direction& d : layer.directions)
            bytes += d.input.bytes() + d.recurrent.bytes();
    return bytes;
}
