// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/device.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <filesystem>
#include <fstream>

namespace braid::transport::ucx {
namespace {

constexpr const char* kRdma = "/sys/class/infiniband";
constexpr double kBitsInByte = 8;

std::string text_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (!address) return {};
  if (address->sa_family == AF_INET) inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  if (address->sa_family == AF_INET6) inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  return text;
}

std::string interface_with(const std::string& address) {
  ifaddrs* all = nullptr;
  if (getifaddrs(&all) != 0) return {};
  std::string name;
  for (const ifaddrs* i = all; i && name.empty(); i = i->ifa_next) {
    if (text_of(i->ifa_addr) == address) name = i->ifa_name;
  }
  freeifaddrs(all);
  return name;
}

// The first number in a file of /sys, or 0.
double number_in(const std::filesystem::path& file) {
  double number = 0;
  std::ifstream(file) >> number;
  return number;
}

std::string rdma_ports() {
  std::string ports;
  std::error_code none;
  for (const auto& device : std::filesystem::directory_iterator(kRdma, none)) {
    for (const auto& port : std::filesystem::directory_iterator(device.path() / "ports", none)) {
      if (number_in(port.path() / "state") == 4) ports += "," + device.path().filename().string() + ":" + port.path().filename().string();
    }
  }
  return ports;
}

}  // namespace

Result<std::string> devices_for(const std::string& address) {
  const std::string interface = interface_with(address);
  if (interface.empty()) return invalid_argument("no network interface of this machine has the address " + address);
  return interface + rdma_ports();
}

double rated(const std::string& lane) {
  const std::string device = lane.substr(lane.find('/') + 1);
  const std::size_t colon = device.rfind(':');
  if (colon != std::string::npos) {
    const auto port = std::filesystem::path(kRdma) / device.substr(0, colon) / "ports" / device.substr(colon + 1);
    return number_in(port / "rate") * 1e9 / kBitsInByte;
  }
  const double megabits = number_in("/sys/class/net/" + device + "/speed");
  return megabits > 0 ? megabits * 1e6 / kBitsInByte : 0;
}

}  // namespace braid::transport::ucx
