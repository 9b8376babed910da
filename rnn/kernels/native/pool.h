// A caller and its helpers, which meet at barriers.
#pragma once

#include <stdint.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <thread>
#include <vector>

#include "memory.h"

struct rk_pool {
    // A piece of work done by `threads` threads at once; each knows its number.
    using Task = void (*)(void* context, int thread, int threads);

    explicit rk_pool(int threads);
    ~rk_pool();
    int threads() const { return static_cast<int>(helpers_.size()) + 1; }
    // Runs the task on `threads` of the pool's threads, the caller among them, and returns when all are done.
    void run(int threads, Task task, void* context);
    // Inside a task: waits until all its threads have come here. Their writes are seen afterwards.
    void barrier(int threads);
    rk::Arena arena;  // of the call that is running

   private:
    void help(int thread);

    std::vector<std::thread> helpers_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::atomic<uint32_t> call_{0};  // counts calls of run; a helper works when it changes
    std::atomic<int> sleeping_{0};
    std::atomic<int> arrived_{0};
    std::atomic<uint32_t> phase_{0};
    std::atomic<int> busy_{0};  // helpers that have not finished the current call
    std::atomic<bool> stop_{false};
    Task task_ = nullptr;
    void* context_ = nullptr;
    int active_ = 1;
};

namespace rk {

// The share [first, last) of `count` items that a thread does.
struct Share {
    int first, last;
    Share(int count, int thread, int threads)
        : first(static_cast<int>(static_cast<int64_t>(count) * thread / threads)),
          last(static_cast<int>(static_cast<int64_t>(count) * (thread + 1) / threads)) {}
};

// How many threads a phase of so many multiplications is worth: below some microseconds each, the
// barrier costs more than it saves.
inline int worth_threads(double multiplications, int most) {
    const double enough = 65536;
    double wanted = multiplications / enough;
    return wanted < 2 ? 1 : wanted < most ? static_cast<int>(wanted) : most;
}

}  // namespace rk
