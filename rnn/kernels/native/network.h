// A stack of recurrent layers with packed weights, read by any number of calls at once.
#pragma once

#include <vector>

#include "cell.h"
#include "kernels.h"
#include "pool.h"

namespace rk {

struct Direction {
    Matrix input, recurrent;
    Buffer<float> bias;      // of the input product, in panel order
    Buffer<float> new_bias;  // GRU: of the new gate's recurrent part, [panels*W]
    Buffer<float> table;     // the first layer's input product of every token, biases added
};

struct Layer {
    int inputs;
    Direction directions[2];
    Buffer<float> norm_scale, norm_shift;
    float norm_epsilon = 0;
    bool residual = false;
    bool finished() const { return residual || norm_scale; }  // its output is not its hidden state
};

// One timestep of one layer and direction: `count` rows.
struct Timestep {
    int count;
    const float* const* products;  // each row's input product in panel order, or NULL: from `inputs`
    const Row* inputs;
    const Row* hidden;
    const CellRow* states;
};

}  // namespace rk

struct rk_network {
    const rk::Cell* cell;
    int precision, hidden_size, directions, vocabulary = 0, outputs = 0;
    bool residual;
    std::vector<rk::Layer> layers;
    rk::Buffer<float> embedding;  // [vocabulary, embedding_size]
    rk::Matrix output;
    rk::Buffer<float> output_bias;

    int width() const { return directions * hidden_size; }
    int panels() const { return cell->shape.count(hidden_size); }
    bool valid_tokens(const int64_t* tokens, int64_t count) const;

    // New states of the units of panels first to last.
    void advance(const rk::Direction&, int first, int last, const rk::Timestep&) const;
    // Input products of `count` rows, panels first to last: products[row][panel].
    void project(const rk::Direction&, int first, int last, int count, const rk::Row* inputs,
                 float* products) const;
    // The layer's output from its hidden state and its input, both [width]; out may be hidden.
    void finish(const rk::Layer&, const float* hidden, const float* input, float* out) const;
    // Logits [outputs] of rows, panels first to last, and each row's best of them.
    void score(int first, int last, int count, const rk::Row* rows, float* const* logits,
               float* best, int64_t* best_token) const;
};
