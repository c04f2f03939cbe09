// SPDX-License-Identifier: Apache-2.0
// Internal to the layer: plain messages from and to those of protobuf.
#pragma once

#include "base/result.h"
#include "extproc/messages.h"

namespace envoy::service::ext_proc::v3 {
class ProcessingRequest;
class ProcessingResponse;
}  // namespace envoy::service::ext_proc::v3

namespace braid::extproc {

namespace wire = ::envoy::service::ext_proc::v3;

// Takes the body out of `request`. Errors: a message without a part, or of an Envoy that is set up
// otherwise than messages.h says.
Result<Message> from_wire(wire::ProcessingRequest& request);
void to_wire(Message message, wire::ProcessingRequest& request);

void to_wire(Reply reply, wire::ProcessingResponse& response);
void to_wire(Answer answer, wire::ProcessingResponse& response);

Told from_wire(wire::ProcessingResponse& response);

}  // namespace braid::extproc
