// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/device.h"

#include <arpa/inet.h>
#include <ifaddrs.h>
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"

namespace braid::transport::ucx {
namespace {

constexpr const char* kRdma = "/sys/class/infiniband";
constexpr double kBitsInByte = 8;
constexpr Duration kWakeTime = std::chrono::seconds(10);  // of an interface that was just made
constexpr Duration kLook = std::chrono::milliseconds(10);

std::string text_of(const sockaddr* address) {
  char text[INET6_ADDRSTRLEN] = {};
  if (!address) return {};
  if (address->sa_family == AF_INET) inet_ntop(AF_INET, &reinterpret_cast<const sockaddr_in*>(address)->sin_addr, text, sizeof text);
  if (address->sa_family == AF_INET6) inet_ntop(AF_INET6, &reinterpret_cast<const sockaddr_in6*>(address)->sin6_addr, text, sizeof text);
  return text;
}

struct Interface {
  std::string name;      // empty: there is none
  bool running = false;  // up, and its cable or peer too
};

Interface interface_with(const std::string& address) {
  ifaddrs* all = nullptr;
  Interface found;
  if (getifaddrs(&all) != 0) return found;
  for (const ifaddrs* i = all; i && found.name.empty(); i = i->ifa_next) {
    if (text_of(i->ifa_addr) == address) found = {i->ifa_name, (i->ifa_flags & IFF_UP) && (i->ifa_flags & IFF_RUNNING)};
  }
  freeifaddrs(all);
  return found;
}

// The first number in a file of /sys, or 0.
double number_in(const std::filesystem::path& file) {
  double number = 0;
  std::ifstream(file) >> number;
  return number;
}

// Megabits a second, or 0.
double ethernet_speed(const std::string& interface) {
  ethtool_cmd command{};
  command.cmd = ETHTOOL_GSET;
  ifreq request{};
  std::strncpy(request.ifr_name, interface.c_str(), sizeof request.ifr_name - 1);
  request.ifr_data = reinterpret_cast<char*>(&command);
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  const bool known = fd >= 0 && ioctl(fd, SIOCETHTOOL, &request) == 0;
  if (fd >= 0) close(fd);
  const std::uint32_t speed = known ? ethtool_cmd_speed(&command) : 0;
  return speed == static_cast<std::uint32_t>(SPEED_UNKNOWN) ? 0 : speed;
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
  const TimePoint deadline = std::chrono::steady_clock::now() + kWakeTime;
  Interface interface = interface_with(address);
  while (!interface.name.empty() && !interface.running && std::chrono::steady_clock::now() < deadline) {
    std::this_thread::sleep_for(kLook);
    interface = interface_with(address);
  }
  if (interface.name.empty()) return invalid_argument("no network interface of this machine has the address " + address);
  if (!interface.running) {
    return Error{ErrorCode::kUnavailable, "the network interface " + interface.name + " with the address " + address + " is down; check its link", {}};
  }
  return interface.name + rdma_ports();
}

double rated(const std::string& lane) {
  const std::string device = lane.substr(lane.find('/') + 1);
  const std::size_t colon = device.rfind(':');
  if (colon != std::string::npos) {
    const auto port = std::filesystem::path(kRdma) / device.substr(0, colon) / "ports" / device.substr(colon + 1);
    return number_in(port / "rate") * 1e9 / kBitsInByte;
  }
  return ethernet_speed(device) * 1e6 / kBitsInByte;
}

}  // namespace braid::transport::ucx
