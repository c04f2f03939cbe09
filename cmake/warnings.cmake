# SPDX-License-Identifier: Apache-2.0
# -Wno-restrict: GCC 12 reports std::string concatenation that is fine.
add_library(braid_flags INTERFACE)
target_include_directories(braid_flags INTERFACE ${PROJECT_SOURCE_DIR}/src)
set(host_flags -Wall -Wextra -Wno-unused-parameter -Wno-missing-field-initializers -Werror=return-type -ffp-contract=off)
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  list(APPEND host_flags -Wno-restrict)
endif()
string(REPLACE ";" "," nvcc_host_flags "${host_flags}")
target_compile_options(braid_flags INTERFACE "$<$<COMPILE_LANGUAGE:C,CXX>:${host_flags}>"
  $<$<COMPILE_LANGUAGE:CUDA>:-Xcompiler=${nvcc_host_flags}>)
if(BRAID_SANITIZE)
  string(REPLACE ";" "," sanitizers "${BRAID_SANITIZE}")
  add_compile_options(-fsanitize=${sanitizers} -fno-omit-frame-pointer -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${sanitizers})
endif()
if(BRAID_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
