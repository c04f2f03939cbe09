// SPDX-License-Identifier: Apache-2.0
#include "extproc/server.h"

#include <grpcpp/ext/health_check_service_server_builder_option.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/health_check_service_interface.h>
#include <grpcpp/security/server_credentials.h>
#include <grpcpp/security/tls_certificate_provider.h>
#include <grpcpp/security/tls_credentials_options.h>

#include <deque>
#include <filesystem>
#include <mutex>
#include <optional>

#include "envoy/service/ext_proc/v3/external_processor.grpc.pb.h"
#include "extproc/certificate.h"
#include "extproc/wire.h"

namespace braid::extproc {
namespace {

constexpr std::size_t kMostUnhandled = 4u << 20;  // bytes of one stream that wait for the loop
constexpr int kLookAhead = 1 << 20;               // bytes of one stream that Envoy may send unasked
constexpr unsigned kCertificateInterval = 10;     // seconds
constexpr const char* kFollowReadiness[] = {"", "readiness", "inference-extension", "envoy.service.ext_proc.v3.ExternalProcessor"};

// gRPC calls On... on threads of its own, one at a time of each kind, and never inside of Start... or
// Finish, which therefore may run under the mutex. After Finish nothing is started.
class Call final : public grpc::ServerBidiReactor<wire::ProcessingRequest, wire::ProcessingResponse>,
                   public Stream,
                   public std::enable_shared_from_this<Call> {
 public:
  Call(std::shared_ptr<net::EventLoop> loop, const MakeProcessor& make) : loop_(std::move(loop)), make_(make) {}

  void begin() {
    self_ = shared_from_this();
    StartRead(&request_);
  }

  void reply(std::vector<Reply> replies) override {
    std::lock_guard lock(mutex_);
    for (Reply& each : replies) to_wire(std::move(each), outbox_.emplace_back());
    if (!handling_) write_or_finish();
  }

  void answer(Answer answer) override {
    std::lock_guard lock(mutex_);
    to_wire(std::move(answer), outbox_.emplace_back());
    if (!end_) end_ = grpc::Status::OK;
    if (!handling_) write_or_finish();
  }

  void OnReadDone(bool ok) override {
    auto message = ok ? from_wire(request_) : Result<Message>(Error{});
    std::lock_guard lock(mutex_);
    reading_ = false;
    if (!message.ok()) {
      if (!end_) end_ = ok ? grpc::Status(grpc::StatusCode::FAILED_PRECONDITION, message.error().message) : grpc::Status::OK;
      return write_or_finish();
    }
    unhandled_ += message->body.size();
    inbox_.push_back(std::move(*message));
    if (unhandled_ < kMostUnhandled) read();
    if (std::exchange(posted_, true)) return;
    loop_->post([self = shared_from_this()] { self->handle(); });
  }

  void OnWriteDone(bool ok) override {
    std::lock_guard lock(mutex_);
    writing_ = false;
    outbox_.pop_front();
    if (!ok) outbox_.clear();
    write_or_finish();
  }

  void OnDone() override {
    loop_->post([self = shared_from_this()] {
      if (self->processor_) self->processor_->on_closed();
      self->processor_.reset();
    });
    self_.reset();
  }

 private:
  // On the loop. What is replied meanwhile leaves together.
  void handle() {
    std::deque<Message> messages;
    {
      std::lock_guard lock(mutex_);
      messages.swap(inbox_);
      unhandled_ = 0;
      posted_ = false;
      handling_ = true;
    }
    if (!processor_) processor_ = make_(shared_from_this());
    for (Message& message : messages) processor_->on_message(std::move(message));
    std::lock_guard lock(mutex_);
    handling_ = false;
    read();
    write_or_finish();
  }

  // These two with the mutex held.
  void read() {
    if (reading_ || end_) return;
    reading_ = true;
    request_.Clear();
    StartRead(&request_);
  }

  void write_or_finish() {
    if (writing_ || finished_) return;
    if (!outbox_.empty()) {
      writing_ = true;
      grpc::WriteOptions options;
      if (outbox_.size() > 1 && begun_) options.set_buffer_hint();  // a first one with it would never be sent
      begun_ = true;
      StartWrite(&outbox_.front(), options);
    } else if (end_) {
      finished_ = true;
      Finish(*end_);
    }
  }

  const std::shared_ptr<net::EventLoop> loop_;
  const MakeProcessor& make_;
  std::shared_ptr<Call> self_;  // while gRPC has the call
  std::shared_ptr<Processor> processor_;
  wire::ProcessingRequest request_;

  std::mutex mutex_;
  std::deque<Message> inbox_;
  std::deque<wire::ProcessingResponse> outbox_;
  std::optional<grpc::Status> end_;
  std::size_t unhandled_ = 0;
  bool reading_ = true;
  bool posted_ = false;
  bool handling_ = false;
  bool writing_ = false;
  bool begun_ = false;  // something has been written
  bool finished_ = false;
};

class Service final : public wire::ExternalProcessor::CallbackService {
 public:
  Service(std::shared_ptr<net::EventLoop> loop, MakeProcessor make) : loop_(std::move(loop)), make_(std::move(make)) {}

  grpc::ServerBidiReactor<wire::ProcessingRequest, wire::ProcessingResponse>* Process(grpc::CallbackServerContext*) override {
    const auto call = std::make_shared<Call>(loop_, make_);
    call->begin();
    return call.get();
  }

 private:
  const std::shared_ptr<net::EventLoop> loop_;
  const MakeProcessor make_;
};

using Credentials = std::shared_ptr<grpc::ServerCredentials>;

Result<Credentials> credentials_of(const ServerOptions& options) {
  if (!options.tls) return grpc::InsecureServerCredentials();
  if (options.certificates.empty()) {
    ASSIGN_OR_RETURN(Certificate own, self_signed());
    grpc::SslServerCredentialsOptions ssl;
    ssl.pem_key_cert_pairs.push_back({std::move(own.key), std::move(own.certificate)});
    return grpc::SslServerCredentials(ssl);
  }
  const std::filesystem::path folder(options.certificates);
  for (const char* name : {"tls.crt", "tls.key"}) {
    std::error_code ec;
    if (!std::filesystem::is_regular_file(folder / name, ec)) {
      return invalid_argument("can't read " + (folder / name).string() + "; the folder must hold tls.crt and tls.key", "cert-path");
    }
  }
  grpc::experimental::TlsServerCredentialsOptions tls(
      std::make_shared<grpc::experimental::FileWatcherCertificateProvider>((folder / "tls.key").string(), (folder / "tls.crt").string(), kCertificateInterval));
  tls.watch_identity_key_cert_pairs();
  tls.set_cert_request_type(GRPC_SSL_DONT_REQUEST_CLIENT_CERTIFICATE);
  return grpc::experimental::TlsServerCredentials(tls);
}

class GrpcServer final : public Server {
 public:
  GrpcServer(std::shared_ptr<net::EventLoop> loop, MakeProcessor make) : service_(std::move(loop), std::move(make)) {}
  ~GrpcServer() override { shutdown(Duration::zero()); }

  Status open(const ServerOptions& options) {
    grpc::EnableDefaultHealthCheckService(true);
    ASSIGN_OR_RETURN(const Credentials credentials, credentials_of(options));
    ASSIGN_OR_RETURN(server_, listen(options.host, options.port, credentials, service_, port_));
    if (options.health_port > 0) {
      ASSIGN_OR_RETURN(health_, listen(options.host, options.health_port, grpc::InsecureServerCredentials(), nothing_, health_port_));
    }
    tell("liveness", true);
    set_ready(false);
    return {};
  }

  int port() const override { return port_; }
  int health_port() const override { return health_port_; }

  void set_ready(bool ready) override {
    for (const char* service : kFollowReadiness) tell(service, ready);
  }

  void shutdown(Duration timeout) override {
    for (const auto& server : {server_.get(), health_.get()}) {
      if (server != nullptr) server->Shutdown(std::chrono::system_clock::now() + std::chrono::duration_cast<std::chrono::microseconds>(timeout));
    }
  }

 private:
  static Result<std::unique_ptr<grpc::Server>> listen(const std::string& host, int port, const Credentials& credentials, grpc::Service& service, int& bound) {
    const std::string where = (host.find(':') == host.npos ? host : "[" + host + "]") + ":" + std::to_string(port);
    grpc::ServerBuilder builder;
    builder.AddChannelArgument(GRPC_ARG_ALLOW_REUSEPORT, 0);
    builder.AddChannelArgument(GRPC_ARG_HTTP2_STREAM_LOOKAHEAD_BYTES, kLookAhead);
    builder.AddListeningPort(where, credentials, &bound);
    builder.RegisterService(&service);
    auto server = builder.BuildAndStart();
    if (server == nullptr || bound == 0) return invalid_argument("can't listen on " + where + " for gRPC; is the port in use?", "grpc-port");
    return server;
  }

  void tell(const char* service, bool serving) {
    for (const auto& server : {server_.get(), health_.get()}) {
      if (server != nullptr) server->GetHealthCheckService()->SetServingStatus(service, serving);
    }
  }

  Service service_;
  wire::ExternalProcessor::CallbackService nothing_;  // a gRPC server without any service has no threads
  int port_ = 0;
  int health_port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  std::unique_ptr<grpc::Server> health_;
};

}  // namespace

Result<std::unique_ptr<Server>> Server::start(std::shared_ptr<net::EventLoop> loop, const ServerOptions& options, MakeProcessor make) {
  auto server = std::make_unique<GrpcServer>(std::move(loop), std::move(make));
  RETURN_IF_ERROR(server->open(options));
  return std::unique_ptr<Server>(std::move(server));
}

}  // namespace braid::extproc
