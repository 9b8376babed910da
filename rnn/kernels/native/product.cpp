#include "product.h"

namespace rk {

namespace {

constexpr int GROUP[] = {1, 2, 4};  // inputs in 32 bits

// One instruction of a product: sums += the dot product of each lane's group with the row's.
template <int P>
struct Sums {
    using type = vf;
};
template <>
struct Sums<RK_INT8> {
    using type = vi;
};

template <int P>
RK_INLINE typename Sums<P>::type dot(typename Sums<P>::type sum, vi weights, vi x) {
    if constexpr (P == RK_FLOAT32) {
        return (vf)weights * (vf)x + sum;
    } else if constexpr (P == RK_BFLOAT16) {
#if LEVEL_AVX512
        return (vf)_mm512_dpbf16_ps((__m512)sum, (__m512bh)x, (__m512bh)weights);
#else
        sum = (vf)((vu)weights << 16) * (vf)((vu)x << 16) + sum;
        return (vf)((vu)weights & 0xffff0000u) * (vf)((vu)x & 0xffff0000u) + sum;
#endif
    } else {
#if LEVEL_AVX512
        return (vi)_mm512_dpbusd_epi32((__m512i)sum, (__m512i)x, (__m512i)weights);
#elif LEVEL_AVX2
        // Bytes 0 and 2, then 1 and 3, as 16-bit numbers, for which there is an exact dot product.
        __m256i w = (__m256i)weights, v = (__m256i)x, low = _mm256_set1_epi16(0xff);
        __m256i even = _mm256_madd_epi16(_mm256_srai_epi16(_mm256_slli_epi16(w, 8), 8),
                                         _mm256_and_si256(v, low));
        __m256i odd = _mm256_madd_epi16(_mm256_srai_epi16(w, 8), _mm256_srli_epi16(v, 8));
        return sum + (vi)_mm256_add_epi32(even, odd);
#else
        for (int byte = 0; byte < 4; byte++)
            sum += ((vi)((vu)weights << (24 - 8 * byte)) >> 24) *
                   (vi)(((vu)x >> (8 * byte)) & 0xffu);
        return sum;
#endif
    }
}

// What a tile reads and writes: R rows of one panel or one row of R panels.
struct Tile {
    const char* weights;
    size_t panel_bytes;
    const float* scales;
    const int32_t* offsets;
    int groups;
    const Row* rows;
    float* sums;
};

// `R` sets of sums stay in registers. Over panels: one row, R panels; else R rows, one panel.
template <int P, int V, int R, bool OVER_PANELS>
void tile(const Tile& t) {
    using S = typename Sums<P>::type;
    S sums[R][V];
    const int32_t* x[R];
#pragma GCC unroll 8
    for (int r = 0; r < R; r++) {
        x[r] = static_cast<const int32_t*>(t.rows[OVER_PANELS ? 0 : r].data);
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            if constexpr (P == RK_INT8)
                memcpy(&sums[r][v], t.offsets + ((OVER_PANELS ? r : 0) * V + v) * W, sizeof(S));
            else
                sums[r][v] = load(t.sums + (r * V + v) * W);
        }
    }
    const char* weights = t.weights;
    for (int k = 0; k < t.groups; k++, weights += V * W * 4) {
        if constexpr (OVER_PANELS) {
            vi input = splat_bits(x[0][k]);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
#pragma GCC unroll 8
                for (int v = 0; v < V; v++) {
                    vi w = load_bits(weights + r * t.panel_bytes + v * W * 4);
                    sums[r][v] = dot<P>(sums[r][v], w, input);
                }
            }
        } else {
            vi w[V];
#pragma GCC unroll 8
            for (int v = 0; v < V; v++) w[v] = load_bits(weights + v * W * 4);
#pragma GCC unroll 8
            for (int r = 0; r < R; r++) {
                vi input = splat_bits(x[r][k]);
#pragma GCC unroll 8
                for (int v = 0; v < V; v++) sums[r][v] = dot<P>(sums[r][v], w[v], input);
            }
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < R; r++)
#pragma GCC unroll 8
        for (int v = 0; v < V; v++) {
            float* place = t.sums + (r * V + v) * W;
            if constexpr (P == RK_INT8) {
                vf scale = load(t.scales + ((OVER_PANELS ? r : 0) * V + v) * W);
                scale *= splat(t.rows[OVER_PANELS ? 0 : r].scale);
                store(place, __builtin_convertvector(sums[r][v], vf) * scale + load(place));
            } else {
                store(place, sums[r][v]);
            }
        }
}

template <int P, int V>
void product(const Tile& t, int rows, int panels) {
    if (rows == 1) {
        switch (panels) {
            case 1: return tile<P, V, 1, true>(t);
            case 2: return tile<P, V, 2, true>(t);
            case 3: return tile<P, V, 3, true>(t);
            default: return tile<P, V, 4, true>(t);
        }
    }
    switch (rows) {
        case 2: return tile<P, V, 2, false>(t);
#if LEVEL_AVX512
        case 4: return tile<P, V, 4, false>(t);
        case 5: return tile<P, V, 5, false>(t);
        case 6: return tile<P, V, 6, false>(t);
#endif
        default: return tile<P, V, 3, false>(t);
    }
}

template <int P>
void product(const Tile& t, int vectors, int rows, int panels) {
    if (vectors == 3)
        product<P, 3>(t, rows, panels);
    else
        product<P, 4>(t, rows, panels);
}

}  // namespace

size_t prepared_bytes(int precision, int inputs) {
    if (precision == RK_FLOAT32) return 0;
    size_t groups = (size_t)(inputs + GROUP[precision] - 1) / GROUP[precision];
    return (groups * 4 + 63) / 64 * 64;
}

Row prepare(int precision, const float* x, int inputs, void* buffer) {
    if (precision == RK_FLOAT32) return {x, 1};
    if (precision == RK_BFLOAT16) {
        bf16* out = static_cast<bf16*>(buffer);
        int k = 0;
        for (; k + W <= inputs; k += W) store(out + k, load(x + k));
        if (k < inputs) store(out + k, load(x + k, inputs - k), inputs - k);
        if (inputs & 1) out[inputs] = 0;
        return {buffer, 1};
    }
    vf largest = {}, spoilt = {};  // spoilt: NaN where any value is not finite
    for (int k = 0; k < inputs; k += W) {
        vf v = load(x + k, inputs - k < W ? inputs - k : W);
        spoilt += v * splat(0.0f);
        vf size = (vf)((vu)v & 0x7fffffffu);
        largest = size > largest ? size : largest;
    }
    float top = 0, not_finite = 0;
    for (int lane = 0; lane < W; lane++) {
        top = largest[lane] > top ? largest[lane] : top;
        not_finite += spoilt[lane];
    }
    // The smallest normal number and below would overflow its reciprocal: they count as zero.
    float inverse = top > 1e-30f ? 127.0f / top : 0.0f;
    const vf magic = splat(12582912.0f);
    uint8_t* out = static_cast<uint8_t*>(buffer);
    for (int k = 0; k < inputs; k += W) {
        int n = inputs - k < W ? inputs - k : W;
        vu bits = (vu)(load(x + k, n) * splat(inverse) + magic);
        vb bytes = __builtin_convertvector((bits & 0xffu) ^ 0x80u, vb);
        memcpy(out + k, &bytes, (size_t)n);
    }
    for (int k = inputs; k & 3; k++) out[k] = 0x80;
    return {buffer, top / 127.0f + not_finite};
}

Matrix Matrix::reserve(int precision, PanelShape shape, int units, int inputs) {
    Matrix m;
    m.precision_ = precision;
    m.shape_ = shape;
    m.units_ = units;
    m.inputs_ = inputs;
    m.groups_ = (inputs + GROUP[precision] - 1) / GROUP[precision];
    m.panels_ = shape.count(units);
    m.panel_bytes_ = (size_t)m.groups_ * shape.floats() * 4;
    m.weights_ = Buffer<char>(m.panel_bytes_ * m.panels_);
    if (precision == RK_INT8) {
        m.scales_ = Buffer<float>((size_t)m.panels_ * shape.floats());
        m.offsets_ = Buffer<int32_t>((size_t)m.panels_ * shape.floats());
    }
    return m;
}

Matrix::Matrix(int precision, PanelShape shape, int units, int inputs, const float* weights,
               size_t row_stride, size_t input_stride)
    : Matrix(reserve(precision, shape, units, inputs)) {
    pack(0, panels_, weights, row_stride, input_stride);
}

void Matrix::pack(int first, int last, const float* weights, size_t row_stride,
                  size_t input_stride) {
    for (int panel = first; panel < last; panel++)
        for (int v = 0; v < shape_.vectors(); v++) {
            const int unit = (panel * shape_.blocks + v / shape_.gates) * W;
            const int lanes = units_ - unit < W ? units_ - unit : W;
            if (lanes <= 0) continue;
            const size_t output = (size_t)(v % shape_.gates) * units_ + unit;
            const float* rows = weights + output * row_stride;
            char* place = weights_.data() + panel * panel_bytes_ + v * W * 4;
            if (precision_ != RK_INT8) {
                pack_floats(place, lanes, rows, row_stride, input_stride);
                continue;
            }
            const size_t lane_0 = (size_t)panel * shape_.floats() + v * W;
            for (int lane = 0; lane < lanes; lane++)
                pack_int8(place + lane * 4, lane_0 + lane, rows + lane * row_stride, input_stride);
        }
}

// Up to W outputs, in tiles that stay in the nearest cache while they are turned round.
void Matrix::pack_floats(char* place, int lanes, const float* rows, size_t row_stride,
                         size_t input_stride) {
    constexpr int TILE = 32;  // inputs; even, so that pairs stay together
    const size_t group = (size_t)shape_.floats() * 4;
    for (int start = 0; start < inputs_; start += TILE, rows += TILE * input_stride) {
        const int count = inputs_ - start < TILE ? inputs_ - start : TILE;
        float tile[TILE][W] = {};
        if (row_stride == 1)
            for (int k = 0; k < count; k++) store(tile[k], load(rows + k * input_stride, lanes));
        else
            for (int lane = 0; lane < lanes; lane++)
                for (int k = 0; k < count; k++)
                    tile[k][lane] = rows[lane * row_stride + k * input_stride];
        if (precision_ == RK_FLOAT32) {
            for (int k = 0; k < count; k++, place += group) memcpy(place, tile[k], W * 4);
        } else {
            for (int k = 0; k < count; k += 2, place += group) {
                vu low = __builtin_convertvector(to_bf16(load(tile[k])), vu);
                vu high = __builtin_convertvector(to_bf16(load(tile[k + 1])), vu);
                vu pairs = low | high << 16;
                memcpy(place, &pairs, sizeof pairs);
            }
        }
    }
}

// One output: a scale for its weights, from the largest.
void Matrix::pack_int8(char* place, size_t output, const float* row, size_t input_stride) {
    float top = 0, not_finite = 0;
    for (int k = 0; k < inputs_; k++) {
        float x = row[k * input_stride];
        not_finite += x * 0.0f;
        top = fabsf(x) > top ? fabsf(x) : top;
    }
    const float inverse = top > 1e-30f && not_finite == 0 ? 127.0f / top : 0.0f;
    const size_t group = (size_t)shape_.floats() * 4;
    int8_t* out = reinterpret_cast<int8_t*>(place);
    int32_t sum = 0;
    for (int k = 0; inverse != 0 && k < inputs_; k++) {
        int q = (int)lrintf(row[k * input_stride] * inverse);
        out[(k >> 2) * group + (k & 3)] = (int8_t)q;
        sum += q;
    }
    scales_[output] = top / 127.0f + not_finite;
    offsets_[output] = -128 * sum;
}

void Matrix::add_product(int panel, int panels, int count, const Row* rows, float* sums) const {
    size_t first = (size_t)panel * shape_.floats();
    Tile t{weights_.data() + panel * panel_bytes_, panel_bytes_, nullptr, nullptr, groups_, rows, sums};
    if (precision_ == RK_INT8) {
        t.scales = scales_.data() + first;
        t.offsets = offsets_.data() + first;
    }
    switch (precision_) {
        case RK_FLOAT32: return product<RK_FLOAT32>(t, shape_.vectors(), count, panels);
        case RK_BFLOAT16: return product<RK_BFLOAT16>(t, shape_.vectors(), count, panels);
        default: return product<RK_INT8>(t, shape_.vectors(), count, panels);
    }
}

Buffer<float> in_panels(PanelShape shape, int units, const float* values, float filling) {
    int panels = shape.count(units);
    Buffer<float> out((size_t)panels * shape.floats());
    for (int panel = 0; panel < panels; panel++)
        for (int v = 0; v < shape.vectors(); v++)
            for (int lane = 0; lane < W; lane++) {
                int unit = (panel * shape.blocks + v / shape.gates) * W + lane;
                int gate = v % shape.gates;
                out[((size_t)panel * shape.vectors() + v) * W + lane] =
                    unit < units ? values[(size_t)gate * units + unit] : filling;
            }
    return out;
}

}  // namespace rk
