// What this machine can do at best: arithmetic peaks by precision, read bandwidth by working set.
// Prints one JSON object. Built and run by machine.py; `machine [quick]`.
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

#if defined(__AVX512F__)
constexpr int kVectorBytes = 64;
#elif defined(__AVX__)
constexpr int kVectorBytes = 32;
#else
constexpr int kVectorBytes = 16;
#endif
constexpr int kVectorFloats = kVectorBytes / 4;
typedef float Vector __attribute__((vector_size(kVectorBytes)));
// Enough independent sums to hide the latency of two multiply-add units.
constexpr int kSums = 12;

double seconds() {
  using namespace std::chrono;
  return duration<double>(steady_clock::now().time_since_epoch()).count();
}

volatile float float_sink;

void float_rounds(long rounds) {
  Vector sums[kSums], factor, addend;
  for (int j = 0; j < kVectorFloats; j++) factor[j] = 0.999f, addend[j] = 1e-3f;
  for (int i = 0; i < kSums; i++) sums[i] = addend * float(i);
  for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; i++) sums[i] = sums[i] * factor + addend;
  }
  for (int i = 1; i < kSums; i++) sums[0] += sums[i];
  float_sink = sums[0][0];
}

#if defined(__AVX512BF16__)
constexpr int kBfloatOperations = 64;
void bfloat_rounds(long rounds) {
  const __m512bh ones = (__m512bh)_mm512_set1_epi32(0x3f803f80);
  __m512 sums[kSums];
  for (int i = 0; i < kSums; i++) sums[i] = _mm512_set1_ps(float(i));
  for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; i++) sums[i] = _mm512_dpbf16_ps(sums[i], ones, ones);
  }
  for (int i = 1; i < kSums; i++) sums[0] = _mm512_add_ps(sums[0], sums[i]);
  float_sink = _mm512_reduce_add_ps(sums[0]);
}
#else
constexpr int kBfloatOperations = 0;
void bfloat_rounds(long) {}
#endif

#if defined(__AVX512VNNI__)
constexpr int kByteOperations = 128;
void byte_rounds(long rounds) {
  const __m512i ones = _mm512_set1_epi32(0x01010101);
  __m512i sums[kSums];
  for (int i = 0; i < kSums; i++) sums[i] = _mm512_set1_epi32(i);
  for (long r = 0; r < rounds; r++) {
#pragma GCC unroll 12
    for (int i = 0; i < kSums; i++) sums[i] = _mm512_dpbusd_epi32(sums[i], ones, ones);
  }
  for (int i = 1; i < kSums; i++) sums[0] = _mm512_add_epi32(sums[0], sums[i]);
  float_sink = float(_mm512_reduce_add_epi32(sums[0]));
}
#else
constexpr int kByteOperations = 0;
void byte_rounds(long) {}
#endif

float read_all(const Vector* data, size_t vectors) {
  Vector sums[8] = {};
  for (size_t i = 0; i + 8 <= vectors; i += 8)
    for (int j = 0; j < 8; j++) sums[j] += data[i + j];
  for (int j = 1; j < 8; j++) sums[0] += sums[j];
  return sums[0][0];
}

// Seconds in which all threads, started together, have done their work; the best of nine.
template <class Work>
double timed(int threads, Work work) {
  std::vector<double> found;
  for (int repetition = 0; repetition < 9; repetition++) {
    std::atomic<int> ready{0};
    double start = 0;
    auto body = [&](int thread) {
      ready++;
      while (ready < threads) {
      }
      if (thread == 0) start = seconds();
      work(thread);
    };
    std::vector<std::thread> others;
    for (int thread = 1; thread < threads; thread++) others.emplace_back(body, thread);
    body(0);
    for (auto& other : others) other.join();
    found.push_back(seconds() - start);
  }
  return *std::min_element(found.begin(), found.end());
}

void print_peak(const char* name, int operations, void (*rounds_of)(long), int threads, long rounds) {
  double rate = 0;
  if (operations)
    rate = double(operations) * kSums * double(rounds) * threads /
           timed(threads, [&](int) { rounds_of(rounds); }) / 1e9;
  std::printf("\"%s\": %.1f", name, rate);
}

}  // namespace

int main(int count, char** arguments) {
  const bool quick = count > 1 && !std::strcmp(arguments[1], "quick");
  const long rounds = quick ? 2'000'000 : 20'000'000;
  const int most = std::min(2u, std::max(1u, std::thread::hardware_concurrency()));
  std::printf("{\"vector_bytes\": %d, \"peak\": {", kVectorBytes);
  for (int threads = 1; threads <= most; threads++) {
    std::printf("%s\"%d\": {", threads > 1 ? ", " : "", threads);
    print_peak("f32", 2 * kVectorFloats, float_rounds, threads, rounds);
    std::printf(", ");
    print_peak("bf16", kBfloatOperations, bfloat_rounds, threads, rounds);
    std::printf(", ");
    print_peak("int8", kByteOperations, byte_rounds, threads, rounds);
    std::printf("}");
  }
  const size_t kibibytes[] = {32, 512, 2048, 8192, 16384, 24576, 32768, 65536, 147456, 524288};
  const size_t largest = size_t(524288) * 1024;
  char* memory = static_cast<char*>(std::aligned_alloc(1 << 21, largest));
  if (!memory) return 1;
  std::memset(memory, 0, largest);
  std::printf("}, \"read\": [");
  for (size_t size : kibibytes) {
    std::printf("%s{\"kib\": %zu", size == kibibytes[0] ? "" : ", ", size);
    for (int threads = 1; threads <= most; threads++) {
      const size_t bytes = size * 1024 / threads / 512 * 512;
      const int repeats = int((quick ? 1e8 : 1e9) / double(bytes)) + 1;
      const double taken = timed(threads, [&](int thread) {
        const auto* data = reinterpret_cast<const Vector*>(memory + thread * bytes);
        float sum = 0;
        for (int r = 0; r < repeats; r++) {
          asm volatile("" ::: "memory");  // or the compiler reads once
          sum += read_all(data, bytes / kVectorBytes);
        }
        if (sum == 12345) float_sink = sum;
      });
      std::printf(", \"%d\": %.1f", threads, double(bytes) * threads * repeats / taken / 1e9);
    }
    std::printf("}");
  }
  std::printf("]}\n");
  std::free(memory);
}
