// Gated recurrent unit (Cho et al. 2014), the reset gate after the matrix product.
#include "cell.h"

namespace rk {

namespace {

void advance(const float* sums, const float* input_new, int unit, int units, const CellRow* rows,
             int count) {
    int n = units - unit < W ? units - unit : W;
    for (int r = 0; r < count; r++, sums += 3 * W, input_new += W) {
        vf reset_gate = sigmoid(load(sums));
        vf update_gate = sigmoid(load(sums + W));
        vf new_gate = tanh(load(input_new) + reset_gate * load(sums + 2 * W));
        vf before = load(rows[r].hidden_in + unit, n);
        vf after = (splat(1.0f) - update_gate) * new_gate + update_gate * before;
        store(rows[r].hidden_out + unit, after, n);
    }
}

// ---- training ------------------------------------------------------------------------------------

template <class T>
void forward(const TrainingStep<T>& step, const Part& part, const float* sums) {
    const size_t H = (size_t)step.units;
    const int unit = part.first_unit, n = part.last_unit - unit;
    const vf bias = load(step.bias + 2 * H + unit, n);
    for (int row = part.first_row; row < part.last_row; row++, sums += 3 * W) {
        size_t at = row * H + unit;
        T* gates = step.gates + 3 * row * H + unit;
        vf reset_gate = sigmoid(load(sums));
        vf update_gate = sigmoid(load(sums + W));
        vf recurrent_new = load(sums + 2 * W);
        vf new_gate = tanh(load(gates + 2 * H, n) + bias + reset_gate * recurrent_new);
        vf before = load(step.hidden_before + at, n);
        store(gates, as_kept(reset_gate), n);
        store(gates + H, as_kept(update_gate), n);
        store(gates + 2 * H, new_gate, n);
        store(step.recurrent_new + at, recurrent_new, n);
        vf after = (splat(1.0f) - update_gate) * new_gate + update_gate * before;
        store(step.hidden + at, after, n);
    }
}

template <class T>
void backward(const TrainingStep<T>& step, const Part& part) {
    const size_t H = (size_t)step.units;
    for (int row = part.first_row; row < part.last_row; row++) {
        float* sums = step.bias_sums + part.first_unit * BIAS_SUMS;
        for (int unit = part.first_unit; unit < part.last_unit; unit += W, sums += BIAS_SUMS * W) {
            int n = lanes(unit, part.last_unit);
            size_t at = row * H + unit;
            T* gates = step.gates + 3 * row * H + unit;
            Gate reset_gate(load(gates, n)), update_gate(load(gates + H, n));
            vf new_gate = load(gates + 2 * H, n);
            vf recurrent_new = load(step.recurrent_new + at, n);
            vf hidden = load(step.hidden_carry + at, n) + load(step.hidden_gradient + at, n);
            vf change = load(step.hidden_before + at, n) - new_gate;
            vf carried = hidden * update_gate.value;
            vf update_sum = hidden * change * update_gate.slope;
            vf new_sum = (hidden - carried) * (splat(1.0f) - new_gate * new_gate);
            vf recurrent_sum = new_sum * reset_gate.value;
            vf reset_sum = new_sum * recurrent_new * reset_gate.slope;
            store(gates, reset_sum, n);
            store(gates + H, update_sum, n);
            store(gates + 2 * H, new_sum, n);
            store(step.recurrent_new + at, recurrent_sum, n);
            store(step.hidden_carry + at, carried, n);
            add(sums, reset_sum);
            add(sums + W, update_sum);
            add(sums + 2 * W, new_sum);
            add(sums + 3 * W, recurrent_sum);
        }
    }
}

}  // namespace

const Cell gru = {{3, 1}, true, true, advance,
                  {{forward<float>, backward<float>}, {forward<bf16>, backward<bf16>}}};

}  // namespace rk
