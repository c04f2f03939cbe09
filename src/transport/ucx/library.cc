// SPDX-License-Identifier: Apache-2.0
#include "transport/ucx/library.h"

#include <dlfcn.h>

#include <cstdlib>

namespace braid::transport::ucx {
namespace {

decltype(&ucs_status_string) status_string = nullptr;

// What UCX reads from the environment when it is opened; what the user set stays.
void quiet_environment() {
  setenv("UCX_LOG_LEVEL", "fatal", 0);     // broken connections are reported by those who use them
  setenv("UCX_HANDLE_ERRORS", "none", 0);  // no signal handlers
  setenv("UCX_ERROR_SIGNALS", "", 0);
  setenv("UCX_WARN_UNUSED_ENV_VARS", "n", 0);
}

Result<Library> open() {
  quiet_environment();
  void* handle = dlopen("libucp.so.0", RTLD_NOW | RTLD_LOCAL);
  if (!handle) {
    return Error{ErrorCode::kUnavailable, std::string("ranks on several hosts need UCX: ") + dlerror() + "; install the package libucx0", {}};
  }
  Library l;
  std::string missing;
  const auto find = [&](auto& function, const char* name) {
    function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(handle, name));
    if (!function) missing = name;
  };
  find(l.init_version, "ucp_init_version");
  find(l.cleanup, "ucp_cleanup");
  find(l.config_read, "ucp_config_read");
  find(l.config_modify, "ucp_config_modify");
  find(l.config_release, "ucp_config_release");
  find(l.worker_create, "ucp_worker_create");
  find(l.worker_destroy, "ucp_worker_destroy");
  find(l.worker_get_address, "ucp_worker_get_address");
  find(l.worker_release_address, "ucp_worker_release_address");
  find(l.worker_get_efd, "ucp_worker_get_efd");
  find(l.worker_arm, "ucp_worker_arm");
  find(l.worker_signal, "ucp_worker_signal");
  find(l.worker_progress, "ucp_worker_progress");
  find(l.worker_set_am_recv_handler, "ucp_worker_set_am_recv_handler");
  find(l.ep_create, "ucp_ep_create");
  find(l.ep_close_nbx, "ucp_ep_close_nbx");
  find(l.ep_flush_nbx, "ucp_ep_flush_nbx");
  find(l.ep_print_info, "ucp_ep_print_info");
  find(l.ep_rkey_unpack, "ucp_ep_rkey_unpack");
  find(l.am_send_nbx, "ucp_am_send_nbx");
  find(l.am_recv_data_nbx, "ucp_am_recv_data_nbx");
  find(l.put_nbx, "ucp_put_nbx");
  find(l.get_nbx, "ucp_get_nbx");
  find(l.mem_map, "ucp_mem_map");
  find(l.mem_unmap, "ucp_mem_unmap");
  find(l.rkey_pack, "ucp_rkey_pack");
  find(l.rkey_buffer_release, "ucp_rkey_buffer_release");
  find(l.rkey_destroy, "ucp_rkey_destroy");
  find(l.request_check_status, "ucp_request_check_status");
  find(l.request_free, "ucp_request_free");
  find(status_string, "ucs_status_string");
  if (!missing.empty()) return Error{ErrorCode::kUnavailable, "this machine's UCX has no function " + missing + "; Braid needs UCX 1.13 or newer", {}};
  l.status_text = [](ucs_status_t status) { return std::string(status_string(status)); };
  return l;
}

}  // namespace

Result<const Library*> library() {
  static const Result<Library> opened = open();
  if (!opened.ok()) return opened.error();
  return &*opened;
}

}  // namespace braid::transport::ucx
