# SPDX-License-Identifier: Apache-2.0
find_package(Threads REQUIRED)
find_package(OpenSSL REQUIRED)
find_package(Boost 1.81 REQUIRED)
find_package(nlohmann_json 3.11 REQUIRED)
find_package(fmt REQUIRED)
find_path(XXHASH_INCLUDE_DIR xxhash.h REQUIRED)
# Headers only: the library is opened when a process talks to another host.
find_path(UCX_INCLUDE_DIR ucp/api/ucp.h REQUIRED)
# The same, when cache events are published.
find_path(ZMQ_INCLUDE_DIR zmq.h REQUIRED)
# spdlog and fmt are used header-only so that the binary carries them.
find_path(SPDLOG_INCLUDE_DIR spdlog/spdlog.h REQUIRED)
add_library(braid_spdlog INTERFACE)
target_include_directories(braid_spdlog SYSTEM INTERFACE ${SPDLOG_INCLUDE_DIR})
target_compile_definitions(braid_spdlog INTERFACE SPDLOG_HEADER_ONLY SPDLOG_FMT_EXTERNAL_HO FMT_HEADER_ONLY)
target_link_libraries(braid_spdlog INTERFACE Threads::Threads)
if(BUILD_TESTING)
  find_package(GTest REQUIRED)
  add_library(braid_test_main INTERFACE)
  target_link_libraries(braid_test_main INTERFACE GTest::gmock GTest::gtest GTest::gtest_main)
endif()
