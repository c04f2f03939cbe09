// SPDX-License-Identifier: Apache-2.0
// ops::Exchange on GPUs of one host.
#pragma once

#include "ops/exchange.h"

namespace braid::cuda {

Result<std::unique_ptr<ops::Exchange>> make_exchange(const ops::Exchange::Options& options, braid::Stream& stream);

}  // namespace braid::cuda
