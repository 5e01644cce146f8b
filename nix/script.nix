# pkgs -> name -> packages on its PATH -> a program from nix/scripts that can read the secrets of `.env` while it runs.
pkgs: name: runtimeInputs:
pkgs.writeShellApplication {
  inherit name;
  runtimeInputs = runtimeInputs ++ [ pkgs.coreutils pkgs.gnused ];
  text = builtins.readFile ./secrets.sh + builtins.readFile (./scripts + "/${name}.sh");
}
