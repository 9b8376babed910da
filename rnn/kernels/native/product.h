// Weight matrices packed for products with a few rows, in three precisions.
//
// Outputs lie in panels of V vectors of W lanes. A panel holds every gate of some hidden units, so that
// what a cell needs of them comes out of one product. Within a panel the weights of a group of inputs
// follow each other as the product reads them: a group is 1 (float32), 2 (bfloat16) or 4 (int8)
// inputs, 32 bits of every output.
//
// Every output is summed over the inputs in their order, whatever the number of rows: a row's result
// never depends on its neighbours.
#pragma once

#include "kernels.h"
#include "memory.h"
#include "simd.h"

namespace rk {

// How a panel maps to the rows of a [gates*units, K] matrix: `blocks` blocks of W units, each with a
// vector for every gate.
struct PanelShape {
    int gates, blocks;
    int vectors() const { return gates * blocks; }  // 3 or 4
    int units() const { return blocks * W; }
    int count(int units) const { return (units + blocks * W - 1) / (blocks * W); }
    int floats() const { return vectors() * W; }
};

constexpr int MOST_VECTORS = 4;
// Rows that share one pass over a panel's weights: as many as the registers hold sums for.
#if LEVEL_AVX512
constexpr int MOST_ROWS = 6;
#else
constexpr int MOST_ROWS = 3;
#endif
// A single row takes so many panels at once instead, or it would wait for each sum's latency.
constexpr int MOST_PANELS = 4;
constexpr int MOST_SUMS = (MOST_ROWS > MOST_PANELS ? MOST_ROWS : MOST_PANELS) * MOST_VECTORS * W;

// One row of inputs as a product reads it.
struct Row {
    const void* data;
    float scale;  // int8: of one unit
};

// Bytes that `prepare` needs for a row of K inputs; 0: it takes the row where it lies.
size_t prepared_bytes(int precision, int inputs);
// The row in the precision of a product. int8: one scale for the row, from its largest value.
Row prepare(int precision, const float* x, int inputs, void* buffer);

class Matrix {
   public:
    Matrix() = default;
    // rows [gates*units, inputs]; row_stride and input_stride in floats, so that a transposed matrix
    // can be packed too.
    Matrix(int precision, PanelShape shape, int units, int inputs, const float* weights,
           size_t row_stride, size_t input_stride);
    // Packs panels first to last of a matrix made by `reserve`: for packing on several threads.
    static Matrix reserve(int precision, PanelShape shape, int units, int inputs);
    void pack(int first, int last, const float* weights, size_t row_stride, size_t input_stride);

    // sums[row][panel][vectors*W] += weights * rows, for `count` rows of one panel or for one row of
    // `panels` panels, from `panel` on.
    void add_product(int panel, int panels, int count, const Row* rows, float* sums) const;

    PanelShape shape() const { return shape_; }
    int panels() const { return panels_; }
    int inputs() const { return inputs_; }
    int64_t bytes() const { return static_cast<int64_t>(weights_.size()); }
    explicit operator bool() const { return static_cast<bool>(weights_); }

   private:
    void pack_floats(char* place, int lanes, const float* rows, size_t row_stride,
                     size_t input_stride);
    void pack_int8(char* place, size_t output, const float* row, size_t input_stride);

    int precision_ = 0, units_ = 0, inputs_ = 0, groups_ = 0, panels_ = 0;
    PanelShape shape_{1, 4};
    size_t panel_bytes_ = 0;
    Buffer<char> weights_;
    Buffer<float> scales_;    // int8: of one unit of each output's weights
    Buffer<int32_t> offsets_;  // int8: what the shift of the inputs adds to each output, negated
};

// Puts a bias [gates*units] into the order of a panel's sums; absent outputs get `filling`.
Buffer<float> in_panels(PanelShape shape, int units, const float* values, float filling = 0);

}  // namespace rk
