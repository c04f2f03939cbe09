// SPDX-License-Identifier: Apache-2.0
#include "extproc/client.h"

#include <grpcpp/grpcpp.h>
#include <grpcpp/security/tls_credentials_options.h>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include "extproc/wire.h"
#include "grpc/health/v1/health.grpc.pb.h"

namespace braid::extproc {
namespace {

void set_deadline(grpc::ClientContext& context, Duration timeout) {
  context.set_deadline(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(timeout));
}

class GrpcStream final : public ClientStream {
 public:
  GrpcStream(wire::ExternalProcessor::Stub& stub, Duration timeout) {
    set_deadline(context_, timeout);
    stream_ = stub.Process(&context_);
  }
  ~GrpcStream() override {
    context_.TryCancel();
    if (!closed_) stream_->Finish();
  }

  void send(Message message) override {
    wire::ProcessingRequest request;
    to_wire(std::move(message), request);
    stream_->Write(request);
  }
  std::optional<Told> next() override {
    wire::ProcessingResponse response;
    if (!stream_->Read(&response)) return std::nullopt;
    return from_wire(response);
  }
  std::string close() override {
    closed_ = true;
    stream_->WritesDone();
    wire::ProcessingResponse rest;
    while (stream_->Read(&rest)) {
    }
    const grpc::Status status = stream_->Finish();
    return status.ok() ? "" : status.error_message();
  }

 private:
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReaderWriter<wire::ProcessingRequest, wire::ProcessingResponse>> stream_;
  bool closed_ = false;
};

std::shared_ptr<grpc::ChannelCredentials> credentials(bool tls) {
  if (!tls) return grpc::InsecureChannelCredentials();
  grpc::experimental::TlsChannelCredentialsOptions options;
  options.set_verify_server_certs(false);
  options.set_check_call_host(false);
  options.set_certificate_verifier(std::make_shared<grpc::experimental::NoOpCertificateVerifier>());
  return grpc::experimental::TlsCredentials(options);
}

class GrpcClient final : public Client {
 public:
  GrpcClient(const std::string& host_port, bool tls) : channel_(grpc::CreateChannel(host_port, credentials(tls))) {}

  std::unique_ptr<ClientStream> open(Duration timeout) override { return std::make_unique<GrpcStream>(*stub_, timeout); }

  std::string health(const std::string& service, Duration timeout) override {
    grpc::ClientContext context;
    set_deadline(context, timeout);
    grpc::health::v1::HealthCheckRequest request;
    grpc::health::v1::HealthCheckResponse response;
    request.set_service(service);
    const grpc::Status status = health_->Check(&context, request, &response);
    return status.ok() ? grpc::health::v1::HealthCheckResponse::ServingStatus_Name(response.status()) : status.error_message();
  }

 private:
  const std::shared_ptr<grpc::Channel> channel_;
  const std::unique_ptr<wire::ExternalProcessor::Stub> stub_ = wire::ExternalProcessor::NewStub(channel_);
  const std::unique_ptr<grpc::health::v1::Health::Stub> health_ = grpc::health::v1::Health::NewStub(channel_);
};

}  // namespace

std::unique_ptr<Client> Client::create(const std::string& host_port, bool tls) { return std::make_unique<GrpcClient>(host_port, tls); }

}  // namespace braid::extproc
