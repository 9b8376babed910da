#include "pool.h"

#include <chrono>

#include "kernels.h"

#if defined(__x86_64__)
#include <immintrin.h>
#define RK_PAUSE() _mm_pause()
#else
#define RK_PAUSE() std::this_thread::yield()
#endif

namespace {

using Clock = std::chrono::steady_clock;

// Helpers look for the next call so long before they sleep. Steps follow each other closely; a
// longer wait would take the core from torch's own threads.
constexpr auto SPIN = std::chrono::microseconds(50);

template <class Ready>
bool spin_until(Ready ready) {
    auto end = Clock::now() + SPIN;
    do {
        for (int i = 0; i < 64; i++) {
            if (ready()) return true;
            RK_PAUSE();
        }
    } while (Clock::now() < end);
    return ready();
}

// Waits for threads that are working now. Gives the core away after a while: one of them may need it.
template <class Ready>
void wait_until(Ready ready) {
    for (;;) {
        for (int i = 0; i < 2000; i++) {
            if (ready()) return;
            RK_PAUSE();
        }
        std::this_thread::yield();
    }
}

}  // namespace

rk_pool::rk_pool(int threads) {
    try {
        for (int i = 1; i < threads; i++) helpers_.emplace_back([this, i] { help(i); });
    } catch (...) {
        stop_ = true;
        call_++;
        wake_.notify_all();
        for (auto& helper : helpers_) helper.join();
        throw;
    }
}

rk_pool::~rk_pool() {
    {
        std::lock_guard<std::mutex> lock(mutex_);
        stop_ = true;
        call_++;
    }
    wake_.notify_all();
    for (auto& helper : helpers_) helper.join();
}

void rk_pool::run(int threads, Task task, void* context) {
    if (threads > this->threads()) threads = this->threads();
    if (threads <= 1) {
        active_ = 1;
        task(context, 0, 1);
        return;
    }
    task_ = task;
    context_ = context;
    active_ = threads;
    busy_.store(static_cast<int>(helpers_.size()), std::memory_order_relaxed);
    call_.fetch_add(1);  // sequentially consistent with `sleeping_`, or a helper could miss it
    if (sleeping_.load() > 0) {
        std::lock_guard<std::mutex> lock(mutex_);
        wake_.notify_all();
    }
    task(context, 0, threads);
    wait_until([this] { return busy_.load(std::memory_order_acquire) == 0; });
}

void rk_pool::barrier(int threads) {
    if (threads == 1) return;
    uint32_t phase = phase_.load(std::memory_order_acquire);
    if (arrived_.fetch_add(1, std::memory_order_acq_rel) == threads - 1) {
        arrived_.store(0, std::memory_order_relaxed);
        phase_.store(phase + 1, std::memory_order_release);
    } else {
        wait_until([&] { return phase_.load(std::memory_order_acquire) != phase; });
    }
}

void rk_pool::help(int thread) {
    uint32_t seen = 0;
    for (;;) {
        auto called = [&] { return call_.load() != seen; };
        if (!spin_until(called)) {
            std::unique_lock<std::mutex> lock(mutex_);
            sleeping_++;
            wake_.wait(lock, called);
            sleeping_--;
        }
        seen = call_.load();
        if (stop_) return;
        if (thread < active_) task_(context_, thread, active_);
        busy_.fetch_sub(1, std::memory_order_release);
    }
}

RK_EXPORT rk_pool* rk_pool_new(int threads) {
    try {
        return threads < 1 ? nullptr : new rk_pool(threads);
    } catch (...) {
        return nullptr;
    }
}

RK_EXPORT void rk_pool_free(rk_pool* pool) { delete pool; }

RK_EXPORT int rk_interface_version(void) { return RK_INTERFACE_VERSION; }

RK_EXPORT int rk_cpu_level(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    bool avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2") &&
                __builtin_cpu_supports("f16c");
    bool avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512vnni") &&
                  __builtin_cpu_supports("avx512bf16");
    return avx512 ? 2 : avx2 ? 1 : 0;
#else
    return 0;
#endif
}
