// SPDX-License-Identifier: Apache-2.0
// The devices that a model can run on: the list of backends, and which one a setting means.
#pragma once

#include <memory>
#include <string>

#include "app/settings.h"
#include "base/result.h"
#include "ops/backend.h"

namespace braid::app {

struct OpenDevice {
  std::unique_ptr<Stream> stream;
  const ops::KernelLists* kernels = nullptr;
};

// `device` as --device names it, `index` of several of its kind. auto: a GPU if there is one that
// works, else the CPU; a GPU that is there but can't be used is told in the log.
Result<OpenDevice> open_device(const ModelSettings& settings, int index = 0);

}  // namespace braid::app
