// SPDX-License-Identifier: Apache-2.0
#include "backend/cuda/exchange/peers.h"

#include <unistd.h>

#include <cstring>
#include <fstream>
#include <sstream>
#include <utility>

namespace braid::cuda {
namespace {

constexpr const char* kKind = "cuda-peer";

std::string host_name() {
  std::string boot;
  std::ifstream("/proc/sys/kernel/random/boot_id") >> boot;
  return boot.empty() ? "unknown" : boot;
}

std::string to_hex(const void* data, std::size_t size) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (std::size_t i = 0; i < size; ++i) {
    const auto byte = static_cast<const unsigned char*>(data)[i];
    text += {kDigits[byte >> 4], kDigits[byte & 15]};
  }
  return text;
}

bool from_hex(const std::string& text, void* data, std::size_t size) {
  if (text.size() != 2 * size || text.find_first_not_of("0123456789abcdef") != std::string::npos) return false;
  for (std::size_t i = 0; i < size; ++i) {
    static_cast<unsigned char*>(data)[i] = static_cast<unsigned char>(std::stoi(text.substr(2 * i, 2), nullptr, 16));
  }
  return true;
}

std::string bus_of(int device) {
  char text[32] = {};
  return cudaDeviceGetPCIBusId(text, sizeof text, device) == cudaSuccess ? text : "unknown";
}

// "cuda-peer HOST PID BUS BYTES ADDRESS HANDLE"
struct Descriptor {
  std::string kind, host, bus, handle;
  long pid = 0;
  std::size_t bytes = 0;
  std::uintptr_t address = 0;
};

Result<Descriptor> parse(const std::string& text) {
  Descriptor d;
  std::istringstream in(text);
  in >> d.kind >> d.host >> d.pid >> d.bus >> d.bytes >> d.address >> d.handle;
  if (in && d.kind == kKind) return d;
  return invalid_argument("'" + text.substr(0, 60) + "' does not describe memory of a GPU; all ranks must run with --device cuda");
}

}  // namespace

Result<PeerMemory> PeerMemory::create(const Gpu& gpu, std::size_t bytes) {
  const std::string what = "taking " + std::to_string(bytes >> 20) + " MiB that other ranks write to";
  void* data = nullptr;
  cudaSetDevice(gpu.device);
  if (const auto code = cudaMalloc(&data, bytes); code != cudaSuccess) return error_of(code, what);
  PeerMemory memory(gpu, static_cast<std::byte*>(data), bytes);
  auto code = cudaMemset(data, 0, bytes);
  if (code == cudaSuccess) code = cudaDeviceSynchronize();
  if (code != cudaSuccess) return error_of(code, what);
  return memory;
}

PeerMemory::PeerMemory(PeerMemory&& other) noexcept
    : gpu_(other.gpu_), own_(std::exchange(other.own_, nullptr)), bytes_(other.bytes_), mapped_(std::move(other.mapped_)),
      opened_(std::exchange(other.opened_, {})) {}

PeerMemory::~PeerMemory() {
  for (std::byte* const memory : opened_) cudaIpcCloseMemHandle(memory);
  if (own_) cudaFree(own_);
}

std::string PeerMemory::descriptor() const {
  cudaIpcMemHandle_t handle{};
  // Where the driver has none, ranks of the same process still find each other.
  if (cudaIpcGetMemHandle(&handle, own_) != cudaSuccess) cudaGetLastError();
  std::ostringstream out;
  out << kKind << ' ' << host_name() << ' ' << getpid() << ' ' << bus_of(gpu_.device) << ' ' << bytes_ << ' '
      << reinterpret_cast<std::uintptr_t>(own_) << ' ' << to_hex(&handle, sizeof handle);
  return out.str();
}

Status PeerMemory::connect(std::span<const std::string> descriptors) {
  cudaSetDevice(gpu_.device);
  mapped_.clear();
  for (std::size_t r = 0; r < descriptors.size(); ++r) {
    auto memory = map(descriptors[r]);
    if (!memory.ok()) return memory.error().within("memory of rank " + std::to_string(r));
    mapped_.push_back(*memory);
  }
  return {};
}

// Whether the GPU at that address is reached; with direct access between both if it is in this process.
Status PeerMemory::reach(const std::string& bus) const {
  int device = 0, can = 0;
  if (cudaDeviceGetByPCIBusId(&device, bus.c_str()) != cudaSuccess) {
    cudaGetLastError();
    return Error{ErrorCode::kUnavailable, "GPU " + bus + " is hidden from this process; every rank needs to see all GPUs of the group (CUDA_VISIBLE_DEVICES)", {}};
  }
  if (device == gpu_.device) return {};
  cudaDeviceCanAccessPeer(&can, gpu_.device, device);
  if (can) return {};
  return Error{ErrorCode::kUnavailable, "GPU " + bus_of(gpu_.device) + " can't reach the memory of GPU " + bus +
               " (nvidia-smi topo -p2p w shows who can); leave --enable-expert-parallel out or use other GPUs", {}};
}

Result<std::byte*> PeerMemory::map(const std::string& descriptor) {
  ASSIGN_OR_RETURN(const Descriptor d, parse(descriptor));
  if (d.host != host_name()) {
    return Error{ErrorCode::kUnimplemented, "it is on another host; ranks on GPUs must be on one host", "enable-expert-parallel"};
  }
  if (d.bytes != bytes_) {
    return internal_error("it has " + std::to_string(d.bytes) + " bytes, the own one " + std::to_string(bytes_) + "; all ranks must have the same settings");
  }
  RETURN_IF_ERROR(reach(d.bus));
  if (d.pid == getpid()) {
    int device = 0;
    cudaDeviceGetByPCIBusId(&device, d.bus.c_str());
    if (device != gpu_.device && cudaDeviceEnablePeerAccess(device, 0) != cudaSuccess) cudaGetLastError();  // it was before
    return reinterpret_cast<std::byte*>(d.address);
  }
  cudaIpcMemHandle_t handle;
  if (!from_hex(d.handle, &handle, sizeof handle)) return invalid_argument("its handle is no handle");
  void* memory = nullptr;
  const auto code = cudaIpcOpenMemHandle(&memory, handle, cudaIpcMemLazyEnablePeerAccess);
  if (code != cudaSuccess) {
    cudaGetLastError();
    return Error{ErrorCode::kUnavailable, std::string("the driver does not map it: ") + cudaGetErrorString(code) + "; ranks need a shared PID namespace", {}};
  }
  opened_.push_back(static_cast<std::byte*>(memory));
  return static_cast<std::byte*>(memory);
}

}  // namespace braid::cuda
