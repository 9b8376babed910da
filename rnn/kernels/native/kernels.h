// The C interface of the native kernels. Every function is reentrant; a pool serves one call at a time
// and keeps the scratch memory of its calls, so that a call like the one before allocates nothing.
//
// Arrays are dense and row-major, numbers are float32 unless said otherwise. Nothing is kept of a
// pointer after a call returns. Functions that can fail return 0 or one of RK_*_ERROR.
#pragma once

#include <stdint.h>

#define RK_INTERFACE_VERSION 2
#define RK_EXPORT extern "C" __attribute__((visibility("default")))

enum rk_cell { RK_RNN_TANH, RK_RNN_RELU, RK_LSTM, RK_GRU, RK_MINGRU, RK_MINLSTM };
enum rk_precision { RK_FLOAT32, RK_BFLOAT16, RK_INT8 };
enum rk_error { RK_OK, RK_MEMORY_ERROR, RK_ARGUMENT_ERROR };

RK_EXPORT int rk_interface_version(void);
// The best level that this processor can run: 0 plain, 1 avx2, 2 avx512 (with bf16 and VNNI).
RK_EXPORT int rk_cpu_level(void);

// ---- threads ------------------------------------------------------------------------------------
// The caller and `threads` - 1 others, which sleep between calls. NULL: no memory or no thread.
typedef struct rk_pool rk_pool;
RK_EXPORT rk_pool* rk_pool_new(int threads);
RK_EXPORT void rk_pool_free(rk_pool*);

// ---- inference ----------------------------------------------------------------------------------
// A stack of layers with its weights packed for one precision. Made by one thread; then read only, so
// that any number of threads may use it at once.
typedef struct rk_network rk_network;

// input_size: features of a timestep, or 0 where the input is a token (rk_network_set_tokens).
// residual: a layer's input is added to its output where the widths are equal.
RK_EXPORT rk_network* rk_network_new(int kind, int precision, int layers, int directions,
                                     int input_size, int hidden_size, int residual);
RK_EXPORT void rk_network_free(rk_network*);
// Weights of one layer and direction (0 forwards, 1 backwards): input_weight [G*H, D],
// recurrent_weight [G*H, H] and both biases [G*H]; for a cell without recurrent matrix NULL.
RK_EXPORT int rk_network_set_layer(rk_network*, int layer, int direction, const float* input_weight,
                                   const float* recurrent_weight, const float* input_bias,
                                   const float* recurrent_bias);
// Layer normalisation of a layer's output: scale and shift [directions*H].
RK_EXPORT int rk_network_set_norm(rk_network*, int layer, const float* scale, const float* shift,
                                  float epsilon);
// The input is a token: its row of embedding [vocabulary, D]. The first layer's input product is
// folded into one table. Call before rk_network_set_layer of layer 0.
RK_EXPORT int rk_network_set_tokens(rk_network*, int vocabulary, int embedding_size,
                                    const float* embedding);
// The output layer: weight [outputs, directions*H], bias [outputs].
RK_EXPORT int rk_network_set_output(rk_network*, int outputs, const float* weight,
                                    const float* bias);
// Bytes of packed weights that a step of one row reads.
RK_EXPORT int64_t rk_network_step_bytes(const rk_network*);

// `steps` timesteps of `rows` rows of a network of one direction.
//   tokens [steps, rows] or, where `greedy`, [rows]: every further token is the best one after the
//     one before; the drawn ones are written to `drawn` [steps, rows].
//   inputs [steps, rows, D], where the network does not read tokens.
//   hidden, cell [layers, rows, H]: read from *_in, written to *_out, which may be the same memory.
//     cell is NULL where the cell has none.
//   output [rows, directions*H]: the last layer's output after the last step. May be NULL.
//   logits [rows, outputs]: after the last step. May be NULL.
RK_EXPORT int rk_step(const rk_network*, rk_pool*, int rows, int steps,
                      const int64_t* tokens, const float* inputs, int greedy,
                      const float* hidden_in, const float* cell_in, float* hidden_out,
                      float* cell_out, float* output, float* logits, int64_t* drawn);

// Whole sequences of different lengths, in both directions where the network has two.
//   offsets, lengths [rows]: row b's timestep t is at position offsets[b] + t of tokens, inputs
//     and outputs. Lengths are at least 1; the order of the rows is free.
//   tokens [positions] or inputs [positions, D].
//   hidden_in, cell_in [layers, rows, H]: start of the forward direction; NULL: zeros.
//   hidden_out, cell_out [layers, rows, H]: the forward direction's state after each row's end. May
//     be NULL.
//   outputs [positions, directions*H]: the last layer's. May be NULL. Padding is left alone.
//   logits [rows, outputs]: after each row's end. May be NULL.
RK_EXPORT int rk_sequences(const rk_network*, rk_pool*, int rows, const int64_t* offsets,
                           const int64_t* lengths, const int64_t* tokens, const float* inputs,
                           const float* hidden_in, const float* cell_in, float* hidden_out,
                           float* cell_out, float* outputs, float* logits);

// ---- training -----------------------------------------------------------------------------------
// One layer and direction over packed sequences: rows sorted by falling length, all rows of timestep 0,
// then all of timestep 1, ...; batch_sizes [steps] is how many rows each has, N their sum, B =
// batch_sizes[0]. `reverse`: each row is read from its own last timestep to its first; everything
// lies where it lies for the other direction. Weights and states are float32. A "wide" array is
// float32, or bfloat16 where `precision` is RK_BFLOAT16. Without any row nothing is written.
//
//   gates, wide [N, G*H]: on entry of the forward pass the input product without biases, after it what
//     the backward pass needs; after the backward pass the loss gradient with respect to the entry
//     values.
//   recurrent_weight [G*H, H]; NULL for minGRU and minLSTM.
//   bias [G*H]: both biases added (GRU: without the recurrent one of the new gate).
//   new_bias [H]: the GRU's recurrent bias of the new gate; NULL for other cells.
//   hidden_mask [B, H]: multiplies the hidden state on its way into the recurrent product, the same
//     at every timestep (Gal and Ghahramani 2016). NULL: none.
//   hidden_start, cell_start [B, H]: the states before each row's first read timestep.
//   hidden [N, H], cell [N, H]: states after every timestep; cell only for an LSTM.
//   recurrent_input, wide [N, H]: what went into the recurrent product: the hidden state before,
//     masked. NULL for minGRU and minLSTM.
//   recurrent_new, wide [N, H]: GRU: the new gate's recurrent part; after the backward pass the loss
//     gradient with respect to it. NULL for other cells.
RK_EXPORT int rk_train_forward(rk_pool*, int kind, int precision, int steps,
                               const int64_t* batch_sizes, int hidden_size, int reverse, void* gates,
                               const float* recurrent_weight, const float* bias,
                               const float* new_bias, const float* hidden_mask,
                               const float* hidden_start, const float* cell_start, float* hidden,
                               float* cell, void* recurrent_input, void* recurrent_new);

//   hidden_gradient [N, H]: of the loss with respect to `hidden`.
//   hidden_start_gradient, cell_start_gradient [B, H]: on entry the loss gradient with respect to
//     each row's last state, on exit with respect to its first.
//   bias_gradient [G*H], new_bias_gradient [H]: of the loss with respect to the biases.
RK_EXPORT int rk_train_backward(rk_pool*, int kind, int precision, int steps,
                                const int64_t* batch_sizes, int hidden_size, int reverse,
                                void* gates, const float* recurrent_weight, const float* bias,
                                const float* hidden_mask, const float* hidden_start,
                                const float* cell_start, const float* hidden, const float* cell,
                                void* recurrent_new, const float* hidden_gradient,
                                float* hidden_start_gradient, float* cell_start_gradient,
                                float* bias_gradient, float* new_bias_gradient);
