// SPDX-License-Identifier: Apache-2.0
#include "app/host_role.h"

#include "app/ranks.h"

namespace braid::app {
namespace {

std::string of(const char* flag, int value) { return std::string(flag) + " " + std::to_string(value); }

bool balances_locally(const ParallelSettings& p) { return p.rank || p.hybrid_lb; }

Status check_modes(const ParallelSettings& p) {
  const int modes = (p.rank || p.external_lb) + p.hybrid_lb + p.multi_port_external_lb + p.headless;
  if (modes > 1) {
    return invalid_argument("only one of --data-parallel-rank, --data-parallel-hybrid-lb, --data-parallel-multi-port-external-lb and "
                            "--headless can be set: they say who hands requests to the ranks of this host", "data-parallel-rank");
  }
  if (p.external_lb && !p.rank) {
    return invalid_argument("--data-parallel-external-lb needs --data-parallel-rank, the rank that this process serves", "data-parallel-rank");
  }
  const bool several_servers = balances_locally(p) || p.multi_port_external_lb;
  if (several_servers && p.size < 2) {
    return invalid_argument("a server for a part of the ranks needs --data-parallel-size 2 or more, found " + std::to_string(p.size), "data-parallel-size");
  }
  if (several_servers && p.enable_elastic_ep) {
    return invalid_argument("--enable-elastic-ep needs one server for all ranks; leave --data-parallel-rank, --data-parallel-hybrid-lb and "
                            "--data-parallel-multi-port-external-lb out", "enable-elastic-ep");
  }
  return Status::success();
}

Status check_ranges(const ParallelSettings& p) {
  if (p.rank && *p.rank >= p.size) {
    return invalid_argument(of("--data-parallel-rank", *p.rank) + " does not exist with " + of("--data-parallel-size", p.size) +
                            "; ranks count from 0", "data-parallel-rank");
  }
  if (p.local_size() == 0 && p.headless) return Status::success();
  if (p.local_size() == 0 && p.size_local) {
    return invalid_argument("--data-parallel-size-local 0 is for a --headless host that waits for ranks to be added", "data-parallel-size-local");
  }
  if (p.start_rank + p.local_size() <= p.size && p.local_size() > 0) return Status::success();
  return invalid_argument(of("--data-parallel-size-local", p.local_size()) + " from " + of("--data-parallel-start-rank", p.start_rank) +
                          " on does not fit " + of("--data-parallel-size", p.size), "data-parallel-size-local");
}

}  // namespace

HostRole role_of(const ParallelSettings& p) {
  const RankRange own = p.rank ? RankRange{*p.rank, 1} : RankRange{p.start_rank, p.local_size()};
  const RankRange all{0, p.size};
  HostRole role;
  role.leads = !balances_locally(p) || own.contains(0);
  role.started = own;
  role.connected = role.leads ? all : own;
  role.serves_all = !balances_locally(p);
  return role;
}

Status check_parallel(const ParallelSettings& p) {
  RETURN_IF_ERROR(check_modes(p));
  RETURN_IF_ERROR(check_ranges(p));
  if (p.address == "0.0.0.0" || p.address == "::") {
    return invalid_argument("--data-parallel-address " + p.address + " would let every network in, and ranks cannot connect to it; give the "
                            "address that the other hosts reach the leading one by", "data-parallel-address");
  }
  const bool joins = p.headless || !role_of(p).leads;
  if (joins && p.secret.empty()) {
    return invalid_argument(std::string(p.headless ? "--headless" : "a server of ranks that another process leads") +
                            " needs the secret of the deployment in " + kSecretVariable + ", as on the leading host");
  }
  return Status::success();
}

}  // namespace braid::app
