// What a cell does in training: its gates' way forwards and back, one timestep at a time.
#pragma once

#include "product.h"

namespace rk {

// The arrays of one timestep, each at row 0 and unit 0; a row is `units` numbers, or so many for every
// gate. T, the wide precision, is float or bf16.
template <class T>
struct TrainingStep {
    int units;
    T* gates;
    T* recurrent_new;          // GRU only
    const float* bias;         // [gates*units]
    const float* hidden_before;
    const float* memory_before;  // LSTM only
    float* hidden;
    float* memory;             // LSTM only
    // Backwards only:
    const float* hidden_gradient;  // of the loss with respect to `hidden`
    // Of the loss with respect to the states, by way of later timesteps: on entry the states after
    // this one, on exit those before, but for what goes through the recurrent product.
    float* hidden_carry;
    float* memory_carry;         // LSTM only
    float* bias_sums;          // [blocks of W units][BIAS_SUMS][W]: gate gradients are added
};

// Gates, and with the GRU the recurrent part of the new one.
constexpr int BIAS_SUMS = 4;

// Which rows and units of a timestep to do: up to, not with, the last.
struct Part {
    int first_row, last_row, first_unit, last_unit;
};

template <class T>
struct TrainingPasses {
    // From the gates' sums, [rows][vectors][W] of one panel, to the states; keeps what `backward`
    // needs. Without a recurrent matrix `sums` is NULL: the sums are gates + bias.
    void (*forward)(const TrainingStep<T>&, const Part&, const float* sums);
    // From the gradients of the states to those of the gates' sums, which take the gates' place.
    void (*backward)(const TrainingStep<T>&, const Part&);
};

struct Training {
    TrainingPasses<float> in_float32;
    TrainingPasses<bf16> in_bfloat16;
};

// A gate between 0 and 1 as it is kept for the way back: from a half on what it lacks to 1, with a
// minus sign. A forget gate near 1 is multiplied over many timesteps, and a bfloat16 could not tell
// 0.999 from 1.
RK_INLINE vf as_kept(vf gate) {
    return gate > splat(0.5f) ? -(splat(1.0f) - gate) : gate;
}

struct Gate {
    vf value, slope;  // slope: of the sigmoid there
    explicit __attribute__((always_inline)) Gate(vf kept) {
        vi past_half = (vi)kept < 0;  // by the sign bit: a gate of 1 is kept as -0
        vf rest = splat(1.0f) + kept, complement = splat(1.0f) - kept;
        value = past_half ? rest : kept;
        slope = value * (past_half ? -kept : complement);
    }
};

// How many of the W units from `unit` on there are.
RK_INLINE int lanes(int unit, int last) { return last - unit < W ? last - unit : W; }

// bias_sums[...] += gradient
RK_INLINE void add(float* sums, vf gradient) { store(sums, load(sums) + gradient); }

}  // namespace rk
