// SPDX-License-Identifier: Apache-2.0
#include "protocol/sampling_params.h"

namespace braid::protocol {

const char* name_of(FinishReason reason) {
  switch (reason) {
    case FinishReason::kNone: return "";
    case FinishReason::kStop: return "stop";
    case FinishReason::kLength: return "length";
    case FinishReason::kAbort: return "abort";
    case FinishReason::kError: return "error";
  }
  return "";
}

}  // namespace braid::protocol
