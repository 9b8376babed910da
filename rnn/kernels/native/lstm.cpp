// Long short-term memory with a forget gate (Gers, Schmidhuber and Cummins 2000).
#include "cell.h"

namespace rk {

namespace {

void advance(const float* sums, const float*, int unit, int units, const CellRow* rows, int count) {
    int n = units - unit < W ? units - unit : W;
    for (int r = 0; r < count; r++, sums += 4 * W) {
        vf in_gate = sigmoid(load(sums));
        vf forget_gate = sigmoid(load(sums + W));
        vf cell_gate = tanh(load(sums + 2 * W));
        vf out_gate = sigmoid(load(sums + 3 * W));
        vf memory = forget_gate * load(rows[r].memory_in + unit, n) + in_gate * cell_gate;
        store(rows[r].memory_out + unit, memory, n);
        store(rows[r].hidden_out + unit, out_gate * tanh(memory), n);
    }
}

// ---- training ------------------------------------------------------------------------------------

template <class T>
void forward(const TrainingStep<T>& step, const Part& part, const float* sums) {
    const size_t H = (size_t)step.units;
    const int unit = part.first_unit, n = part.last_unit - unit;
    for (int row = part.first_row; row < part.last_row; row++, sums += 4 * W) {
        size_t at = row * H + unit;
        T* gates = step.gates + 4 * row * H + unit;
        vf in_gate = sigmoid(load(sums));
        vf forget_gate = sigmoid(load(sums + W));
        vf cell_gate = tanh(load(sums + 2 * W));
        vf out_gate = sigmoid(load(sums + 3 * W));
        vf memory = forget_gate * load(step.memory_before + at, n) + in_gate * cell_gate;
        store(gates, as_kept(in_gate), n);
        store(gates + H, as_kept(forget_gate), n);
        store(gates + 2 * H, cell_gate, n);
        store(gates + 3 * H, as_kept(out_gate), n);
        store(step.memory + at, memory, n);
        store(step.hidden + at, out_gate * tanh(memory), n);
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
            T* gates = step.gates + 4 * row * H + unit;
            Gate in_gate(load(gates, n)), forget_gate(load(gates + H, n));
            vf cell_gate = load(gates + 2 * H, n);
            Gate out_gate(load(gates + 3 * H, n));
            vf bent = tanh(load(step.memory + at, n));
            vf hidden = load(step.hidden_carry + at, n) + load(step.hidden_gradient + at, n);
            vf memory = hidden * out_gate.value * (splat(1.0f) - bent * bent) +
                        load(step.memory_carry + at, n);
            vf in_sum = memory * cell_gate * in_gate.slope;
            vf forget_sum = memory * load(step.memory_before + at, n) * forget_gate.slope;
            vf cell_sum = memory * in_gate.value * (splat(1.0f) - cell_gate * cell_gate);
            vf out_sum = hidden * bent * out_gate.slope;
            store(gates, in_sum, n);
            store(gates + H, forget_sum, n);
            store(gates + 2 * H, cell_sum, n);
            store(gates + 3 * H, out_sum, n);
            store(step.memory_carry + at, memory * forget_gate.value, n);
            store(step.hidden_carry + at, vf{}, n);
            add(sums, in_sum);
            add(sums + W, forget_sum);
            add(sums + 2 * W, cell_sum);
            add(sums + 3 * W, out_sum);
        }
    }
}

}  // namespace

const Cell lstm = {{4, 1}, true, false, advance,
                   {{forward<float>, backward<float>}, {forward<bf16>, backward<bf16>}}};

}  // namespace rk
