# devenv --profile qdrant up: a Qdrant beside the stack, to compare with. Nothing of Drystone uses it.
{ pkgs, config, ... }:

let
  inherit (config.processes.qdrant.ports) http grpc;
in
{
  packages = [ pkgs.qdrant ];
  processes.qdrant = {
    exec = ''
      mkdir -p "$DEVENV_STATE/qdrant"
      cd "$DEVENV_STATE/qdrant"
      exec ${pkgs.qdrant}/bin/qdrant
    '';
    ports.http.allocate = 16333;
    ports.grpc.allocate = 16334;
    env = {
      QDRANT__SERVICE__HOST = "127.0.0.1";
      QDRANT__SERVICE__HTTP_PORT = toString http.value;
      QDRANT__SERVICE__GRPC_PORT = toString grpc.value;
      QDRANT__TELEMETRY_DISABLED = "true";
    };
    ready = {
      http.get = { port = http.value; path = "/readyz"; };
      period = 1;
      timeout = 60;
    };
  };
}
