{
  description = "Drystone: documents in, kept safe, answered with passages you can check. No containers.";

  inputs = {
    nixpkgs.url = "github:NixOS/nixpkgs/nixpkgs-unstable";
    devenv.url = "github:cachix/devenv/v2.2.2";
    devenv.inputs.nixpkgs.follows = "nixpkgs";
  };

  nixConfig = {
    extra-substituters = "https://devenv.cachix.org";
    extra-trusted-public-keys = "devenv.cachix.org-1:w1cLUi8dv3hnoSPGAuibQv+f9TZLr6cv/Hm9XgU50cw=";
  };

  # Everything is in devenv.nix; here it becomes a shell and is checked. `devenv up` and `devenv shell` need no flake.
  outputs = { nixpkgs, devenv, ... }@inputs:
    let
      eachSystem = nixpkgs.lib.genAttrs [ "x86_64-linux" "aarch64-linux" "aarch64-darwin" ];
      pkgsOf = system: nixpkgs.legacyPackages.${system};
      # A pure evaluation knows no folder. `nix develop --no-pure-eval` does.
      folder = builtins.getEnv "PWD";
      root.devenv.root = if folder != "" then folder else "/run/pure-evaluation-has-no-root";
      arguments = system: { inherit inputs; pkgs = pkgsOf system; modules = [ ./devenv.nix root ]; };
    in
    {
      devShells = eachSystem (system: { default = devenv.lib.mkShell (arguments system); });
      checks = eachSystem (system: import ./nix/checks {
        pkgs = pkgsOf system;
        evaluate = modules: devenv.lib.mkConfig ((arguments system) // { modules = [ ./devenv.nix root ] ++ modules; });
      });
    };
}
