// Gates that do not see the hidden state, so that all timesteps' gates are one product and the rest
// is a scan: minGRU and minLSTM (Feng et al. 2024, "Were RNNs All We Needed?").
#include "cell.h"

namespace rk {

namespace {

// Keeps the candidate positive, as the scan in log space needs it.
RK_INLINE vf positive(vf x) { return x < splat(0.0f) ? sigmoid(x) : x + splat(0.5f); }

// What two gates that are all but closed are opened by: only their ratio counts, and it stays.
RK_INLINE vf lift(vf forget_sum, vf in_sum) {
    vf top = larger(forget_sum, in_sum);
    return top < splat(-20.0f) ? splat(-20.0f) - top : splat(0.0f);
}

void advance_mingru(const float* sums, const float*, int unit, int units, const CellRow* rows,
                    int count) {
    for (int r = 0; r < count; r++)
        for (int block = 0; block < 2; block++, sums += 2 * W) {
            int first = unit + block * W, n = units - first < W ? units - first : W;
            if (n <= 0) continue;
            vf update_gate = sigmoid(load(sums));
            vf candidate = positive(load(sums + W));
            vf before = load(rows[r].hidden_in + first, n);
            vf after = (splat(1.0f) - update_gate) * before + update_gate * candidate;
            store(rows[r].hidden_out + first, after, n);
        }
}

void advance_minlstm(const float* sums, const float*, int unit, int units, const CellRow* rows,
                     int count) {
    int n = units - unit < W ? units - unit : W;
    for (int r = 0; r < count; r++, sums += 3 * W) {
        vf lifted = lift(load(sums), load(sums + W));
        vf forget_gate = sigmoid(load(sums) + lifted);
        vf in_gate = sigmoid(load(sums + W) + lifted);
        vf candidate = positive(load(sums + 2 * W));
        vf in_share = in_gate / (forget_gate + in_gate);
        vf before = load(rows[r].hidden_in + unit, n);
        vf after = (splat(1.0f) - in_share) * before + in_share * candidate;
        store(rows[r].hidden_out + unit, after, n);
    }
}

// ---- training ------------------------------------------------------------------------------------
// The gates of all timesteps are there from the start, so nothing is kept: the way back computes them
// again from their sums.

// A unit at one timestep: the candidate's share in its next state, and how the sums of the gates move
// the share (`slopes`) and the candidate.
template <int GATES>
struct Mixture {
    vf share, candidate, candidate_slope, slopes[GATES - 1];

    __attribute__((always_inline)) void read_candidate(vf sum) {
        vf gate = sigmoid(sum);
        candidate = positive(sum);
        candidate_slope = sum < splat(0.0f) ? gate * (splat(1.0f) - gate) : splat(1.0f);
    }
};

RK_INLINE Mixture<2> mixture(const vf (&sums)[2]) {
    Mixture<2> m;
    m.share = sigmoid(sums[0]);
    m.slopes[0] = m.share * (splat(1.0f) - m.share);
    m.read_candidate(sums[1]);
    return m;
}

RK_INLINE Mixture<3> mixture(const vf (&sums)[3]) {
    Mixture<3> m;
    vf lifted = lift(sums[0], sums[1]);
    vf forget_gate = sigmoid(sums[0] + lifted), in_gate = sigmoid(sums[1] + lifted);
    vf both = forget_gate + in_gate, forget_share = forget_gate / both;
    m.share = in_gate / both;
    m.slopes[0] = m.share * forget_share * (forget_gate - splat(1.0f));
    m.slopes[1] = m.share * forget_share * (splat(1.0f) - in_gate);
    m.read_candidate(sums[2]);
    return m;
}

template <class T, int GATES>
RK_INLINE Mixture<GATES> mixture(const TrainingStep<T>& step, int row, int unit, int n) {
    const size_t H = (size_t)step.units;
    vf sums[GATES];
    for (int gate = 0; gate < GATES; gate++)
        sums[gate] = load(step.gates + (row * GATES + gate) * H + unit, n) +
                     load(step.bias + gate * H + unit, n);
    return mixture(sums);
}

template <class T, int GATES>
void forward(const TrainingStep<T>& step, const Part& part, const float*) {
    const size_t H = (size_t)step.units;
    for (int row = part.first_row; row < part.last_row; row++)
        for (int unit = part.first_unit; unit < part.last_unit; unit += W) {
            int n = lanes(unit, part.last_unit);
            size_t at = row * H + unit;
            Mixture<GATES> m = mixture<T, GATES>(step, row, unit, n);
            vf before = load(step.hidden_before + at, n);
            vf after = (splat(1.0f) - m.share) * before + m.share * m.candidate;
            store(step.hidden + at, after, n);
        }
}

template <class T, int GATES>
void backward(const TrainingStep<T>& step, const Part& part) {
    const size_t H = (size_t)step.units;
    for (int row = part.first_row; row < part.last_row; row++) {
        float* sums = step.bias_sums + part.first_unit * BIAS_SUMS;
        for (int unit = part.first_unit; unit < part.last_unit; unit += W, sums += BIAS_SUMS * W) {
            int n = lanes(unit, part.last_unit);
            size_t at = row * H + unit;
            T* gates = step.gates + row * GATES * H + unit;
            Mixture<GATES> m = mixture<T, GATES>(step, row, unit, n);
            vf hidden = load(step.hidden_carry + at, n) + load(step.hidden_gradient + at, n);
            vf through_candidate = hidden * m.share;
            vf through_share = hidden * (m.candidate - load(step.hidden_before + at, n));
            store(step.hidden_carry + at, hidden - through_candidate, n);
            vf candidate_sum = through_candidate * m.candidate_slope;
            store(gates + (GATES - 1) * H, candidate_sum, n);
            add(sums + (GATES - 1) * W, candidate_sum);
            for (int gate = 0; gate < GATES - 1; gate++) {
                vf gate_sum = through_share * m.slopes[gate];
                store(gates + gate * H, gate_sum, n);
                add(sums + gate * W, gate_sum);
            }
        }
    }
}

template <int GATES>
constexpr Training training = {{forward<float, GATES>, backward<float, GATES>},
                               {forward<bf16, GATES>, backward<bf16, GATES>}};

}  // namespace

const Cell mingru = {{2, 2}, false, false, advance_mingru, training<2>};
const Cell minlstm = {{3, 1}, false, false, advance_minlstm, training<3>};

}  // namespace rk
