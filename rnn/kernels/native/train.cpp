// The recurrences of whole batches, forwards and back. What torch does well, the large products of the
// inputs and of the weights' gradients, is left to it.
//
// Where a core's cache holds the recurrent weights, a thread has some rows for the whole call, and the
// threads need not meet. Otherwise it has some units, whose weights its caches keep, and of every
// timestep it computes these units for all rows; then the threads meet once a timestep, because a
// product reads all units of the state before. Sums are taken in the same order whoever takes them,
// so results do not depend on the number of threads.
#include <new>
#include <vector>

#include "cell.h"
#include "pool.h"

using namespace rk;

namespace {

// The arguments of both functions of the C interface: see kernels.h.
struct Arguments {
    rk_pool* pool;
    int kind, precision, steps;
    const int64_t* batch_sizes;
    int hidden_size;
    bool reverse;
    void* gates;
    const float *recurrent_weight, *bias, *new_bias, *hidden_mask, *hidden_start, *cell_start;
    float *hidden, *cell;
    void *recurrent_input, *recurrent_new;
    const float* hidden_gradient;
    float *hidden_carry, *cell_carry, *bias_gradient, *new_bias_gradient;
};

bool valid_sizes(const Arguments& a) {
    if (!a.pool || !cell_of(a.kind) || a.steps < 0 || a.hidden_size < 1) return false;
    if (a.precision != RK_FLOAT32 && a.precision != RK_BFLOAT16) return false;
    if (a.steps && !a.batch_sizes) return false;
    for (int t = 0; t < a.steps; t++) {
        const int64_t most = t ? a.batch_sizes[t - 1] : INT32_MAX;
        if (a.batch_sizes[t] < 0 || a.batch_sizes[t] > most) return false;
    }
    return true;
}

bool valid_arrays(const Arguments& a, bool back) {
    const Cell& cell = *cell_of(a.kind);
    const bool lstm = a.kind == RK_LSTM;
    if (!a.gates || !a.bias || !a.hidden_start || !a.hidden) return false;
    if (lstm && (!a.cell_start || !a.cell)) return false;
    if (cell.recurrent && !a.recurrent_weight) return false;
    if (cell.separate_new && !a.recurrent_new) return false;
    if (!back) return (!cell.recurrent || a.recurrent_input) && (!cell.separate_new || a.new_bias);
    return a.hidden_gradient && a.hidden_carry && a.bias_gradient && (!lstm || a.cell_carry) &&
           (!cell.separate_new || a.new_bias_gradient);
}

// So many bytes of recurrent weights a core's cache is trusted to hold beside what is computed.
constexpr size_t KEPT_BYTES = 64 << 10;
// Rows that one thread has together; the bias gradient is summed over them, then over the groups.
constexpr int GROUP_ROWS = 4;

// What a thread computes: all gates of these panels' units, for these rows.
struct Mine {
    Share panels;
    int first_row, last_row;
};

// Rows and panels of one product: one pass over the weights.
struct Tile {
    int first_row, rows, first_panel, panels;
};

template <class Body>
void for_tiles(int first_row, int last_row, Share panels, Body body) {
    const int rows = last_row - first_row;
    if (rows == 1) {
        for (int panel = panels.first; panel < panels.last; panel += MOST_PANELS) {
            int left = panels.last - panel;
            body(Tile{first_row, 1, panel, left < MOST_PANELS ? left : MOST_PANELS});
        }
        return;
    }
    // Tiles of nearly the same size: a last one of one row would wait for each of its sums.
    const int tiles = (rows + MOST_ROWS - 1) / MOST_ROWS;
    for (int panel = panels.first; panel < panels.last; panel++)
        for (int tile = 0; tile < tiles; tile++) {
            Share share(rows, tile, tiles);
            body(Tile{first_row + share.first, share.last - share.first, panel, 1});
        }
}

PanelShape shape_of(const Cell& cell, bool back) {
    if (!cell.recurrent) return {1, 1};
    return back ? PanelShape{1, MOST_VECTORS} : cell.shape;
}

// A product reads pairs of bfloat16 numbers, so of an odd width it reads copies: a row's last number
// would have the next row's first for a partner. Bytes of a copy; 0: none is needed.
template <class T>
size_t copied_bytes(int inputs, size_t stride) {
    return sizeof(T) < 4 && (inputs | stride) & 1 ? prepared_bytes(RK_BFLOAT16, inputs) : 0;
}

// Rows first to last of `inputs` numbers, `stride` apart, as a product reads them.
template <class T>
void read_rows(const T* data, size_t stride, int inputs, int first, int last, Buffer<char>& copies,
               std::vector<Row>& rows) {
    const size_t copied = copied_bytes<T>(inputs, stride);
    for (int row = first; row < last; row++) {
        rows[row] = {data + row * stride, 1};
        if (!copied) continue;
        char* copy = copies.data() + row * copied;  // zeros where nothing is copied to
        memcpy(copy, data + row * stride, inputs * sizeof(T));
        rows[row].data = copy;
    }
}

template <class T>
class Pass : Arguments {
   public:
    Pass(const Arguments& arguments, bool back);
    void run();

   private:
    // One timestep among the packed rows.
    struct Place {
        size_t start;    // of its rows
        int rows;
        int continuing;  // so many go on from the timestep that was read before; others begin
        size_t before;   // start of that timestep's rows
    };
    // What a thread has for itself.
    struct Own {
        std::vector<Row> rows, new_rows;
        Buffer<char> copies, new_copies;
    };

    void forward(int thread, int threads);
    void feed(const Place&, Part, const float* hidden) const;
    void forward_products(const TrainingStep<T>&, const Row* rows, Part, Share panels) const;
    void backward(int thread, int threads);
    void backward_products(const Place&, Own&, const Mine&) const;
    void sum_bias_gradients(Share panels);

    void share_rows();
    Mine share(int thread, int threads) const;
    const TrainingPasses<T>& cell_passes() const;
    Part part(int first_panel, int last_panel) const;
    bool choose_rows(const Place&, bool beginning, int first_row, int last_row, Part&) const;
    TrainingStep<T> step(const Place&, bool beginning);

    const Cell& family_;
    const bool back_;
    const size_t H_, G_;  // numbers in a row of states, of gates
    const PanelShape shape_;
    int threads_ = 1;
    bool by_rows_ = false;
    int group_rows_, groups_ = 1;  // groups: of all rows, so many in each
    std::vector<int> first_groups_;  // by rows: of each thread, and the end
    std::vector<Place> places_;  // in the order of reading
    std::vector<Own> own_;
    Matrix matrix_, new_matrix_;  // forwards the recurrent one, back its transpose, the GRU's in two
    size_t sums_ = 0;  // numbers in a set of bias sums
    Buffer<float> bias_sums_, step_sums_;  // a set for each group; for each thread that has rows
};

template <class T>
Pass<T>::Pass(const Arguments& arguments, bool back)
    : Arguments(arguments),
      family_(*cell_of(kind)),
      back_(back),
      H_((size_t)hidden_size),
      G_(H_ * family_.shape.gates),
      shape_(shape_of(family_, back)) {
    std::vector<size_t> starts(1);
    for (int t = 0; t < steps; t++) starts.push_back(starts.back() + (size_t)batch_sizes[t]);
    for (int i = 0; i < steps; i++) {
        int t = reverse ? steps - 1 - i : i, before = reverse ? t + 1 : t - 1;
        int rows = (int)batch_sizes[t];
        if (!rows) continue;
        int continuing = !i ? 0 : reverse ? (int)batch_sizes[before] : rows;
        places_.push_back({starts[t], rows, continuing, i ? starts[before] : 0});
    }
    const int rows = (int)batch_sizes[0], panels = shape_.count(hidden_size);
    by_rows_ = family_.recurrent && rows >= 2 * GROUP_ROWS && H_ * G_ * sizeof(T) <= KEPT_BYTES;
    group_rows_ = by_rows_ ? GROUP_ROWS : rows;
    groups_ = (rows + group_rows_ - 1) / group_rows_;
    double work = (double)starts.back() * G_ * (family_.recurrent ? H_ : 32);
    if (family_.recurrent && !by_rows_) work /= steps;
    const int parts = by_rows_ ? groups_ : panels;
    threads_ = worth_threads(work, pool->threads() < parts ? pool->threads() : parts);
    if (by_rows_) share_rows();
    const int inputs = !back ? hidden_size : (int)(family_.separate_new ? G_ - H_ : G_);
    for (int thread = 0; family_.recurrent && thread < threads_; thread++) {
        Own own;
        own.rows.resize(rows);
        own.new_rows.resize(rows);
        own.copies = Buffer<char>(rows * copied_bytes<T>(inputs, back ? G_ : H_));
        if (back && family_.separate_new)
            own.new_copies = Buffer<char>(rows * copied_bytes<T>(hidden_size, H_));
        own_.push_back(std::move(own));
    }
    if (family_.recurrent) matrix_ = Matrix::reserve(precision, shape_, hidden_size, inputs);
    if (!back) return;
    if (family_.separate_new)
        new_matrix_ = Matrix::reserve(precision, shape_, hidden_size, hidden_size);
    sums_ = (size_t)panels * shape_.units() * BIAS_SUMS;
    bias_sums_ = Buffer<float>(groups_ * sums_);
    step_sums_ = Buffer<float>((by_rows_ ? threads_ : 1) * sums_);
}

// Gives each thread groups of rows that have about as many timesteps together.
template <class T>
void Pass<T>::share_rows() {
    std::vector<int64_t> before(1);  // timesteps of all groups before each one
    for (int group = 0; group < groups_; group++) {
        int64_t timesteps = 0;
        for (const Place& place : places_) {
            int64_t rows = place.rows - group * group_rows_;
            timesteps += rows < 0 ? 0 : rows < group_rows_ ? rows : group_rows_;
        }
        before.push_back(before.back() + timesteps);
    }
    first_groups_.push_back(0);
    for (int thread = 1, group = 0; thread < threads_; thread++) {
        while (group < groups_ && before[group] * threads_ < before[groups_] * thread) group++;
        first_groups_.push_back(group);
    }
    first_groups_.push_back(groups_);
}

template <class T>
Mine Pass<T>::share(int thread, int threads) const {
    const int panels = shape_.count(hidden_size);
    if (!by_rows_) return {Share(panels, thread, threads), 0, (int)batch_sizes[0]};
    const int last_row = first_groups_[thread + 1] * group_rows_, rows = (int)batch_sizes[0];
    return {Share(panels, 0, 1), first_groups_[thread] * group_rows_,
            last_row < rows ? last_row : rows};
}

template <class T>
void Pass<T>::run() {
    auto task = [](void* context, int thread, int threads) {
        Pass& pass = *static_cast<Pass*>(context);
        pass.back_ ? pass.backward(thread, threads) : pass.forward(thread, threads);
    };
    pool->run(threads_, task, this);
}

template <>
const TrainingPasses<float>& Pass<float>::cell_passes() const {
    return family_.training.in_float32;
}

template <>
const TrainingPasses<bf16>& Pass<bf16>::cell_passes() const {
    return family_.training.in_bfloat16;
}

template <class T>
Part Pass<T>::part(int first_panel, int last_panel) const {
    int last = last_panel * shape_.units();
    return {0, 0, first_panel * shape_.units(), last < hidden_size ? last : hidden_size};
}

// Of the given rows those that begin at this timestep, or those that go on; whether there are any.
template <class T>
bool Pass<T>::choose_rows(const Place& place, bool beginning, int first_row, int last_row,
                          Part& part) const {
    const int first = beginning ? place.continuing : 0;
    const int last = beginning ? place.rows : place.continuing;
    part.first_row = first > first_row ? first : first_row;
    part.last_row = last < last_row ? last : last_row;
    return part.first_row < part.last_row;
}

template <class T>
TrainingStep<T> Pass<T>::step(const Place& place, bool beginning) {
    TrainingStep<T> s{};
    s.units = hidden_size;
    s.gates = static_cast<T*>(gates) + place.start * G_;
    s.bias = bias;
    s.hidden_before = beginning ? hidden_start : hidden + place.before * H_;
    s.hidden = hidden + place.start * H_;
    if (family_.separate_new) s.recurrent_new = static_cast<T*>(recurrent_new) + place.start * H_;
    if (kind == RK_LSTM) {
        s.memory_before = beginning ? cell_start : cell + place.before * H_;
        s.memory = cell + place.start * H_;
    }
    if (back_) {
        s.hidden_gradient = hidden_gradient + place.start * H_;
        s.hidden_carry = hidden_carry;
        s.memory_carry = cell_carry;
    }
    return s;
}

// ---- forwards -----------------------------------------------------------------------------------

template <class T>
void Pass<T>::forward(int thread, int threads) {
    const Mine mine = share(thread, threads);
    Part chosen = part(mine.panels.first, mine.panels.last);
    auto choose = [&](const Place& place, bool beginning) {
        return choose_rows(place, beginning, mine.first_row, mine.last_row, chosen);
    };
    if (!family_.recurrent) {
        for (const Place& place : places_)
            for (bool beginning : {false, true})
                if (choose(place, beginning))
                    cell_passes().forward(step(place, beginning), chosen, nullptr);
        return;
    }
    Own& own = own_[thread];
    Share packed(shape_.count(hidden_size), thread, threads);
    matrix_.pack(packed.first, packed.last, recurrent_weight, H_, 1);
    for (const Place& place : places_)
        if (choose(place, true)) feed(place, chosen, hidden_start);
    pool->barrier(threads);
    for (size_t i = 0; i < places_.size(); i++) {
        const Place& place = places_[i];
        const int last_row = place.rows < mine.last_row ? place.rows : mine.last_row;
        read_rows(static_cast<const T*>(recurrent_input) + place.start * H_, H_, hidden_size,
                  mine.first_row, last_row, own.copies, own.rows);
        for (bool beginning : {false, true})
            if (choose(place, beginning))
                forward_products(step(place, beginning), own.rows.data(), chosen, mine.panels);
        if (i + 1 == places_.size()) return;
        if (choose(places_[i + 1], false)) feed(places_[i + 1], chosen, hidden + place.start * H_);
        if (!by_rows_) pool->barrier(threads);
    }
}

// What a timestep's recurrent product reads, for some rows and units.
template <class T>
void Pass<T>::feed(const Place& place, Part fed, const float* from) const {
    for (int row = fed.first_row; row < fed.last_row; row++) {
        T* to = static_cast<T*>(recurrent_input) + (place.start + row) * H_;
        for (int unit = fed.first_unit; unit < fed.last_unit; unit += W) {
            int n = lanes(unit, fed.last_unit);
            vf value = load(from + row * H_ + unit, n);
            if (hidden_mask) value *= load(hidden_mask + row * H_ + unit, n);
            store(to + unit, value, n);
        }
    }
}

template <class T>
void Pass<T>::forward_products(const TrainingStep<T>& s, const Row* rows, Part chosen,
                               Share panels) const {
    const int gates_of_unit = shape_.gates, vectors = shape_.vectors();
    for_tiles(chosen.first_row, chosen.last_row, panels, [&](Tile tile) {
        float sums[MOST_SUMS];
        const int last_row = tile.first_row + tile.rows, last_panel = tile.first_panel + tile.panels;
        float* out = sums;
        for (int row = tile.first_row; row < last_row; row++)
            for (int panel = tile.first_panel; panel < last_panel; panel++)
                for (int v = 0; v < vectors; v++, out += W) {
                    int unit = (panel * shape_.blocks + v / gates_of_unit) * W;
                    int n = lanes(unit, hidden_size), gate = v % gates_of_unit;
                    if (n <= 0)
                        store(out, vf{});
                    else if (family_.separate_new && gate + 1 == gates_of_unit)
                        store(out, load(new_bias + unit, n));
                    else
                        store(out, load(s.gates + row * G_ + gate * H_ + unit, n) +
                                       load(bias + gate * H_ + unit, n));
                }
        matrix_.add_product(tile.first_panel, tile.panels, tile.rows, rows + tile.first_row, sums);
        out = sums;
        for (int panel = tile.first_panel; panel < last_panel; panel++, out += vectors * W) {
            Part done = part(panel, panel + 1);
            done.first_row = tile.first_row;
            done.last_row = last_row;
            cell_passes().forward(s, done, out);
        }
    });
}

// ---- back ---------------------------------------------------------------------------------------

template <class T>
void Pass<T>::backward(int thread, int threads) {
    const Mine mine = share(thread, threads);
    Part chosen = part(mine.panels.first, mine.panels.last);
    Own* own = family_.recurrent ? &own_[thread] : nullptr;
    const Share packed(shape_.count(hidden_size), thread, threads);
    if (own) matrix_.pack(packed.first, packed.last, recurrent_weight, 1, H_);
    if (family_.separate_new)
        new_matrix_.pack(packed.first, packed.last, recurrent_weight + (G_ - H_) * H_, 1, H_);
    if (by_rows_) pool->barrier(threads);
    const size_t first_sum = (size_t)chosen.first_unit * BIAS_SUMS;
    const size_t last_sum = (size_t)mine.panels.last * shape_.units() * BIAS_SUMS;
    float* step_sums = step_sums_.data() + (by_rows_ ? thread * sums_ : 0);
    for (size_t i = places_.size(); i-- > 0;) {
        const Place& place = places_[i];
        for (int row = mine.first_row; row < mine.last_row && row < place.rows; row += group_rows_) {
            for (bool beginning : {false, true}) {
                if (!choose_rows(place, beginning, row, row + group_rows_, chosen)) continue;
                TrainingStep<T> s = step(place, beginning);
                s.bias_sums = step_sums;
                cell_passes().backward(s, chosen);
            }
            float* sums = bias_sums_.data() + row / group_rows_ * sums_;
            for (size_t sum = first_sum; sum < last_sum; sum += W) {
                add(sums + sum, load(step_sums + sum));
                store(step_sums + sum, vf{});
            }
        }
        if (!own) continue;
        if (!by_rows_) pool->barrier(threads);
        backward_products(place, *own, mine);
    }
    if (by_rows_) pool->barrier(threads);
    sum_bias_gradients(by_rows_ ? packed : mine.panels);
}

template <class T>
void Pass<T>::sum_bias_gradients(Share panels) {
    const Part units = part(panels.first, panels.last);
    for (int unit = units.first_unit; unit < units.last_unit; unit++) {
        const float* sums = &bias_sums_[(size_t)(unit / W) * BIAS_SUMS * W + unit % W];
        float found[BIAS_SUMS] = {};
        for (int group = 0; group < groups_; group++, sums += sums_)
            for (int i = 0; i < BIAS_SUMS; i++) found[i] += sums[i * W];
        for (int gate = 0; gate < family_.shape.gates; gate++)
            bias_gradient[gate * H_ + unit] = found[gate];
        if (family_.separate_new) new_bias_gradient[unit] = found[family_.shape.gates];
    }
}

// Adds to the gradient of the state before what comes through the recurrent product.
template <class T>
void Pass<T>::backward_products(const Place& place, Own& own, const Mine& mine) const {
    const int last_row = place.rows < mine.last_row ? place.rows : mine.last_row;
    if (mine.first_row >= last_row) return;
    read_rows(static_cast<const T*>(gates) + place.start * G_, G_, matrix_.inputs(), mine.first_row,
              last_row, own.copies, own.rows);
    if (family_.separate_new)
        read_rows(static_cast<const T*>(recurrent_new) + place.start * H_, H_, hidden_size,
                  mine.first_row, last_row, own.new_copies, own.new_rows);
    const int vectors = shape_.vectors();
    for_tiles(mine.first_row, last_row, mine.panels, [&](Tile tile) {
        float sums[MOST_SUMS];
        const size_t used = (size_t)tile.rows * tile.panels * vectors * W;
        for (size_t i = 0; i < used; i += W) store(sums + i, vf{});
        matrix_.add_product(tile.first_panel, tile.panels, tile.rows,
                            own.rows.data() + tile.first_row, sums);
        if (new_matrix_)
            new_matrix_.add_product(tile.first_panel, tile.panels, tile.rows,
                                    own.new_rows.data() + tile.first_row, sums);
        const Part done = part(tile.first_panel, tile.first_panel + tile.panels);
        const float* sum = sums;
        for (int row = tile.first_row; row < tile.first_row + tile.rows; row++) {
            size_t at = row * H_;
            for (int v = 0; v < tile.panels * vectors; v++, sum += W) {
                int unit = done.first_unit + v * W, n = lanes(unit, done.last_unit);
                if (n <= 0) continue;
                vf gradient = load(sum);
                if (hidden_mask) gradient *= load(hidden_mask + at + unit, n);
                float* carry = hidden_carry + at + unit;
                store(carry, load(carry, n) + gradient, n);
            }
        }
    });
}

int run(const Arguments& arguments, bool back) {
    try {
        if (!valid_sizes(arguments)) return RK_ARGUMENT_ERROR;
        if (!arguments.steps || !arguments.batch_sizes[0]) return RK_OK;
        if (!valid_arrays(arguments, back)) return RK_ARGUMENT_ERROR;
        if (arguments.precision == RK_BFLOAT16)
            Pass<bf16>(arguments, back).run();
        else
            Pass<float>(arguments, back).run();
        return RK_OK;
    } catch (...) {
        return RK_MEMORY_ERROR;
    }
}

}  // namespace

RK_EXPORT int rk_train_forward(rk_pool* pool, int kind, int precision, int steps,
                               const int64_t* batch_sizes, int hidden_size, int reverse, void* gates,
                               const float* recurrent_weight, const float* bias,
                               const float* new_bias, const float* hidden_mask,
                               const float* hidden_start, const float* cell_start, float* hidden,
                               float* cell, void* recurrent_input, void* recurrent_new) {
    Arguments a{};
    a.pool = pool;
    a.kind = kind;
    a.precision = precision;
    a.steps = steps;
    a.batch_sizes = batch_sizes;
    a.hidden_size = hidden_size;
    a.reverse = reverse != 0;
    a.gates = gates;
    a.recurrent_weight = recurrent_weight;
    a.bias = bias;
    a.new_bias = new_bias;
    a.hidden_mask = hidden_mask;
    a.hidden_start = hidden_start;
    a.cell_start = cell_start;
    a.hidden = hidden;
    a.cell = cell;
    a.recurrent_input = recurrent_input;
    a.recurrent_new = recurrent_new;
    return run(a, false);
}

RK_EXPORT int rk_train_backward(rk_pool* pool, int kind, int precision, int steps,
                                const int64_t* batch_sizes, int hidden_size, int reverse,
                                void* gates, const float* recurrent_weight, const float* bias,
                                const float* hidden_mask, const float* hidden_start,
                                const float* cell_start, const float* hidden, const float* cell,
                                void* recurrent_new, const float* hidden_gradient,
                                float* hidden_start_gradient, float* cell_start_gradient,
                                float* bias_gradient, float* new_bias_gradient) {
    Arguments a{};
    a.pool = pool;
    a.kind = kind;
    a.precision = precision;
    a.steps = steps;
    a.batch_sizes = batch_sizes;
    a.hidden_size = hidden_size;
    a.reverse = reverse != 0;
    a.gates = gates;
    a.recurrent_weight = recurrent_weight;
    a.bias = bias;
    a.hidden_mask = hidden_mask;
    a.hidden_start = hidden_start;
    a.cell_start = cell_start;
    a.hidden = const_cast<float*>(hidden);  // read only on the way back
    a.cell = const_cast<float*>(cell);
    a.recurrent_new = recurrent_new;
    a.hidden_gradient = hidden_gradient;
    a.hidden_carry = hidden_start_gradient;
    a.cell_carry = cell_start_gradient;
    a.bias_gradient = bias_gradient;
    a.new_bias_gradient = new_bias_gradient;
    return run(a, true);
}
