// Aligned memory that frees itself. Allocation failure is std::bad_alloc, caught at the C interface.
#pragma once

#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include <new>
#include <utility>
#include <vector>

namespace rk {

template <class T>
class Buffer {
   public:
    Buffer() = default;
    // Zeroed. Large ones ask for large pages: a step reads all weights once, and their page table with it.
    explicit Buffer(size_t count) : count_(count) {
        if (!count) return;
        const size_t large = size_t(1) << 21;
        size_t bytes = count * sizeof(T), alignment = 64;
        if (bytes >= large) {  // whole pages; a small one ends where it ends, for the sanitizers
            alignment = large;
            bytes = (bytes + large - 1) / large * large;
        }
        void* place;
        if (posix_memalign(&place, alignment, bytes)) throw std::bad_alloc();
        data_ = static_cast<T*>(place);
#if defined(__linux__) && defined(MADV_HUGEPAGE)
        if (alignment == large) madvise(data_, bytes, MADV_HUGEPAGE);
#endif
        memset(static_cast<void*>(data_), 0, bytes);
    }
    Buffer(Buffer&& other) noexcept { swap(other); }
    Buffer& operator=(Buffer&& other) noexcept {
        swap(other);
        return *this;
    }
    ~Buffer() { free(data_); }

    T* data() { return data_; }
    const T* data() const { return data_; }
    T& operator[](size_t i) { return data_[i]; }
    const T& operator[](size_t i) const { return data_[i]; }
    size_t size() const { return count_; }
    explicit operator bool() const { return data_ != nullptr; }

   private:
    void swap(Buffer& other) {
        std::swap(data_, other.data_);
        std::swap(count_, other.count_);
    }

    T* data_ = nullptr;
    size_t count_ = 0;
};

// Scratch memory of one call after another: what one call needed is there for the next.
class Arena {
#if defined(__SANITIZE_ADDRESS__)
    static constexpr bool APART = true;  // or an overrun would end in the next piece, unseen
#else
    static constexpr bool APART = false;
#endif

   public:
    // Not zeroed; aligned to 64 bytes.
    template <class T>
    T* take(size_t count) {
        size_t bytes = (count * sizeof(T) + 63) / 64 * 64;
        if (APART || used_ + bytes > blocks_.back().size()) {
            full_ += used_;
            used_ = 0;
            blocks_.emplace_back(APART ? count * sizeof(T) : bytes > 4096 ? bytes : 4096);
        }
        char* place = blocks_.back().data() + used_;
        used_ += bytes;
        return reinterpret_cast<T*>(place);
    }
    // Begins the next call: everything taken is given back.
    void reset() {
        size_t needed = full_ + used_;
        full_ = used_ = 0;
        if (blocks_.size() > 1 || needed > MOST_KEPT) {
            blocks_.resize(1);
            blocks_[0] = Buffer<char>();  // given back before more is asked for, which may throw
            blocks_[0] = Buffer<char>(APART || needed > MOST_KEPT ? 0 : needed);
        }
    }

   private:
    static constexpr size_t MOST_KEPT = size_t(64) << 20;
    std::vector<Buffer<char>> blocks_ = std::vector<Buffer<char>>(1);
    size_t used_ = 0, full_ = 0;  // of the last block, and of those before it
};

}  // namespace rk
