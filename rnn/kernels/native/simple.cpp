// Simple recurrence (Elman 1990), with the hyperbolic tangent or rectified (Le, Jaitly and Hinton 2015).
#include "cell.h"

namespace rk {

namespace {

constexpr int BLOCKS = 4;

template <vf (*ACTIVATION)(vf)>
void advance(const float* sums, const float*, int unit, int units, const CellRow* rows, int count) {
    for (int r = 0; r < count; r++)
        for (int block = 0; block < BLOCKS; block++, sums += W) {
            int first = unit + block * W, n = units - first < W ? units - first : W;
            if (n > 0) store(rows[r].hidden_out + first, ACTIVATION(load(sums)), n);
        }
}

vf tanh_of(vf x) { return tanh(x); }
vf relu_of(vf x) { return relu(x); }

// ---- training ------------------------------------------------------------------------------------

// The activation's slope where it has this value. NaN passes.
RK_INLINE vf tanh_slope(vf value) { return splat(1.0f) - value * value; }
RK_INLINE vf relu_slope(vf value) {
    return value <= splat(0.0f) ? splat(0.0f) : value > splat(0.0f) ? splat(1.0f) : value;
}

template <class T, vf (*ACTIVATION)(vf)>
void forward(const TrainingStep<T>& step, const Part& part, const float* sums) {
    const size_t H = (size_t)step.units;
    for (int row = part.first_row; row < part.last_row; row++)
        for (int block = 0; block < BLOCKS; block++, sums += W) {
            int unit = part.first_unit + block * W;
            if (unit >= part.last_unit) continue;
            store(step.hidden + row * H + unit, ACTIVATION(load(sums)),
                  lanes(unit, part.last_unit));
        }
}

template <class T, vf (*SLOPE)(vf)>
void backward(const TrainingStep<T>& step, const Part& part) {
    const size_t H = (size_t)step.units;
    for (int row = part.first_row; row < part.last_row; row++) {
        float* sums = step.bias_sums + part.first_unit * BIAS_SUMS;
        for (int unit = part.first_unit; unit < part.last_unit; unit += W, sums += BIAS_SUMS * W) {
            int n = lanes(unit, part.last_unit);
            size_t at = row * H + unit;
            vf hidden = load(step.hidden_carry + at, n) + load(step.hidden_gradient + at, n);
            vf sum = hidden * SLOPE(load(step.hidden + at, n));
            store(step.gates + at, sum, n);
            store(step.hidden_carry + at, vf{}, n);
            add(sums, sum);
        }
    }
}

template <vf (*ACTIVATION)(vf), vf (*SLOPE)(vf)>
constexpr Training training = {{forward<float, ACTIVATION>, backward<float, SLOPE>},
                               {forward<bf16, ACTIVATION>, backward<bf16, SLOPE>}};

}  // namespace

const Cell rnn_tanh = {{1, BLOCKS}, true, false, advance<tanh_of>, training<tanh_of, tanh_slope>};
const Cell rnn_relu = {{1, BLOCKS}, true, false, advance<relu_of>, training<relu_of, relu_slope>};

}  // namespace rk
