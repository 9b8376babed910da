// What distinguishes one recurrence from another: its gates, and what it does with their sums.
#pragma once

#include "product.h"
#include "train.h"

namespace rk {

// One row's states at one timestep, each pointing at unit 0.
struct CellRow {
    const float* hidden_in;
    float* hidden_out;
    const float* memory_in;  // LSTM only; may be memory_out
    float* memory_out;
};

struct Cell {
    PanelShape shape;
    bool recurrent;   // has a recurrent matrix
    bool separate_new;  // GRU: the last gate's recurrent part stays apart from its input part
    // The next states of `count` rows for the units of one panel.
    //   sums [count][vectors][W]; of a GRU the new gate's recurrent part.
    //   input_new [count][W]: GRU: the new gate's input part.
    //   unit: the panel's first; units: how many the layer has.
    void (*advance)(const float* sums, const float* input_new, int unit, int units,
                    const CellRow* rows, int count);
    Training training;
};

extern const Cell rnn_tanh, rnn_relu, lstm, gru, mingru, minlstm;

inline const Cell* cell_of(int kind) {
    const Cell* cells[] = {&rnn_tanh, &rnn_relu, &lstm, &gru, &mingru, &minlstm};
    return kind >= 0 && kind <= RK_MINLSTM ? cells[kind] : nullptr;
}

}  // namespace rk
