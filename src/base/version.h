// SPDX-License-Identifier: Apache-2.0
#pragma once

namespace braid {

// The project's version in CMakeLists.txt.
const char* version();

}  // namespace braid
