// SPDX-License-Identifier: Apache-2.0
#include "transport/shm/region.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <cstring>

namespace braid::transport::shm {
namespace {

constexpr std::uint64_t kMagic = 0x6d68736469617262;  // "braidshm"

Error system_error(const std::string& what) {
  return internal_error(what + ": " + std::strerror(errno));
}

struct Address {
  long pid = 0;
  long fd = 0;
  std::uint64_t nonce = 0;
};

Result<Address> parse(std::string_view text) {
  Address a;
  const char* at = text.data();
  const char* const end = at + text.size();
  const auto number = [&](auto& value) {
    const auto [next, error] = std::from_chars(at, end, value);
    const bool good = error == std::errc();
    at = next < end ? next + 1 : end;
    return good;
  };
  if (!text.starts_with("shm:")) return invalid_argument("'" + std::string(text) + "' is not the address of a shared memory region");
  at += 4;
  if (!number(a.pid) || !number(a.fd) || !number(a.nonce)) {
    return invalid_argument("the shared memory address '" + std::string(text) + "' is not shm:PID:FD:NONCE");
  }
  return a;
}

}  // namespace

Result<std::unique_ptr<Mapping>> Mapping::create(std::size_t bytes) {
  const int fd = static_cast<int>(syscall(SYS_memfd_create, "braid", MFD_CLOEXEC));
  if (fd < 0) return system_error("cannot make shared memory");
  const std::size_t length = kHeaderBytes + bytes;
  void* base = MAP_FAILED;
  if (ftruncate(fd, static_cast<off_t>(length)) == 0) base = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (base == MAP_FAILED) {
    const Error error = system_error("cannot map " + std::to_string(length) + " bytes of shared memory");
    close(fd);
    return error;
  }
  auto* header = new (base) Header{};
  header->magic = kMagic;
  header->bytes = bytes;
  if (getrandom(&header->nonce, sizeof header->nonce, 0) != sizeof header->nonce) header->nonce = static_cast<std::uint64_t>(getpid());
  return std::unique_ptr<Mapping>(new Mapping(base, length, fd, -1));
}

Result<std::unique_ptr<Mapping>> Mapping::open(std::string_view descriptor) {
  ASSIGN_OR_RETURN(const Address address, parse(descriptor));
  const std::string path = "/proc/" + std::to_string(address.pid) + "/fd/" + std::to_string(address.fd);
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) {
    return system_error("cannot open the shared memory of process " + std::to_string(address.pid) + " (" + path +
                        "; ranks of one host must run as one user in one PID namespace)");
  }
  struct stat info {};
  void* base = MAP_FAILED;
  const bool large = fstat(fd, &info) == 0 && info.st_size > static_cast<off_t>(kHeaderBytes);
  if (large) base = mmap(nullptr, static_cast<std::size_t>(info.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (base == MAP_FAILED) return system_error("cannot map the shared memory of process " + std::to_string(address.pid));
  const auto length = static_cast<std::size_t>(info.st_size);
  const int owner = address.pid == getpid() ? -1 : static_cast<int>(syscall(SYS_pidfd_open, address.pid, 0));
  std::unique_ptr<Mapping> mapping(new Mapping(base, length, -1, owner));
  const Header& header = mapping->header();
  if (header.magic != kMagic || header.nonce != address.nonce || header.bytes + kHeaderBytes != length) {
    return Error{ErrorCode::kUnavailable, "process " + std::to_string(address.pid) + " no longer has the shared memory that was announced", {}};
  }
  return mapping;
}

Mapping::~Mapping() {
  if (fd_ >= 0) {
    header().released.store(1);
    close(fd_);
  }
  if (owner_fd_ >= 0) close(owner_fd_);
  munmap(base_, length_);
}

std::string Mapping::descriptor() const {
  return "shm:" + std::to_string(getpid()) + ":" + std::to_string(fd_) + ":" + std::to_string(header().nonce);
}

bool Mapping::owner_alive() const {
  if (header().released.load() != 0) return false;
  if (owner_fd_ < 0) return true;
  pollfd ended{owner_fd_, POLLIN, 0};
  return poll(&ended, 1, 0) == 0;
}

void ring(Header& header) {
  header.bell.fetch_add(1);
  if (header.sleepers.load() != 0) {
    syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&header.bell), FUTEX_WAKE, 1 << 30, nullptr, nullptr, 0);
  }
}

void sleep_on(Header& header, std::uint32_t seen, TimePoint until) {
  const auto left = until - std::chrono::steady_clock::now();
  if (left <= Duration::zero()) return;
  timespec timeout{};
  timeout.tv_sec = std::chrono::duration_cast<std::chrono::seconds>(left).count();
  timeout.tv_nsec = (left % std::chrono::seconds(1)).count();
  header.sleepers.fetch_add(1);
  syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&header.bell), FUTEX_WAIT, seen, &timeout, nullptr, 0);
  header.sleepers.fetch_sub(1);
}

}  // namespace braid::transport::shm
