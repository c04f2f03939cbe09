// SPDX-License-Identifier: Apache-2.0
#include "base/version.h"

namespace braid {

const char* version() { return BRAID_VERSION; }

}  // namespace braid
