# SPDX-License-Identifier: Apache-2.0
# The CUDA compiler: that of tools/install.sh nvcc, or another one by CMAKE_CUDA_COMPILER.
# Machine code for Hopper; other GPUs from compute capability 8.0 on compile the PTX at start.
set(BRAID_NVCC ${PROJECT_SOURCE_DIR}/build/nvcc/cuda/bin/nvcc)
if(NOT CMAKE_CUDA_COMPILER)
  if(NOT EXISTS ${BRAID_NVCC})
    message(FATAL_ERROR "the cuda preset needs a CUDA compiler: run `tools/install.sh nvcc`, or set CMAKE_CUDA_COMPILER")
  endif()
  set(CMAKE_CUDA_COMPILER ${BRAID_NVCC} CACHE FILEPATH "nvcc")
endif()
set(CMAKE_CUDA_ARCHITECTURES "90a-real;80-virtual" CACHE STRING "GPUs that the kernels are compiled for")
set(CMAKE_CUDA_RUNTIME_LIBRARY Static)
if(CCACHE)
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${CCACHE})
endif()
enable_language(CUDA)
# CMake 3.25 does not know that this nvcc takes C++20.
set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA20_EXTENSION_COMPILE_OPTION -std=c++20)
set(CMAKE_CUDA_STANDARD 20)
set(CMAKE_CUDA_STANDARD_REQUIRED ON)

# CMake 3.25's own search does not know CUDA 13. The runtime is linked statically and opens the
# driver when it is first used.
find_library(BRAID_CUDART cudart_static HINTS ${CMAKE_CUDA_IMPLICIT_LINK_DIRECTORIES} REQUIRED)
add_library(braid_cudart INTERFACE)
target_include_directories(braid_cudart SYSTEM INTERFACE ${CMAKE_CUDA_TOOLKIT_INCLUDE_DIRECTORIES})
target_link_libraries(braid_cudart INTERFACE ${BRAID_CUDART} ${CMAKE_DL_LIBS} rt)
