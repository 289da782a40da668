//! Finds Go and builds the programs of `interop/` with the modules that they name.
//!
//! Where a folder `../shared/goproxy` stands beside the project, its modules come first; all others, and on any other
//! machine all of them, come from the module proxy that Go is set to.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

/// Modules that a local proxy folder may serve with a checksum that the public database does not know.
const LOCAL_MODULES: &str =
    "github.com/masonchen2014/*,github.com/truexf/iip,github.com/xingshuo/saber,github.com/zzinno/*";

/// saber's stress test, in its module.
const STRESS: &str = "github.com/xingshuo/saber/test/stress/helloworld";

/// The Go toolchain with the environment that the programs are built in.
pub(crate) struct Go {
    env: Vec<(&'static str, String)>,
}

/// The built programs.
pub(crate) struct Programs {
    pub(crate) rpcx_client: PathBuf,
    pub(crate) rpcx_server: PathBuf,
    pub(crate) easymicro_client: PathBuf,
    pub(crate) easymicro_server: PathBuf,
    pub(crate) iip_client: PathBuf,
    pub(crate) iip_server: PathBuf,
    pub(crate) netrpc_client: PathBuf,
    pub(crate) netrpc_server: PathBuf,
    pub(crate) gob: PathBuf,
    pub(crate) saber_node: PathBuf,
    /// The module's own programs.
    pub(crate) saber_stress_client: PathBuf,
    pub(crate) saber_stress_server: PathBuf,
}

impl Go {
    /// `None` where Go is not installed; that is an error under `CI=true`, where nothing may be skipped unseen.
    pub(crate) fn find(root: &Path) -> Result<Option<Go>, String> {
        let proxy = match Command::new("go").args(["env", "GOPROXY"]).current_dir(root).output() {
            Ok(out) if out.status.success() => String::from_utf8_lossy(&out.stdout).trim().to_owned(),
            _ if env::var("CI").is_ok_and(|ci| ci == "true") => {
                return Err("Go is not installed, and CI=true lets nothing be skipped".to_owned());
            }
            _ => {
                println!("SKIPPED: Go is not installed");
                return Ok(None);
            }
        };
        let mut env = vec![
            // With cgo, rpcx wants RDMA headers.
            ("CGO_ENABLED", "0".to_owned()),
            ("GOFLAGS", "-buildvcs=false".to_owned()),
        ];
        if let Ok(folder) = root.join("../shared/goproxy").canonicalize() {
            env.push(("GOPROXY", format!("file://{},{proxy}", folder.display())));
            env.push(("GONOSUMDB", LOCAL_MODULES.to_owned()));
        }
        Ok(Some(Go { env }))
    }

    /// Builds all programs into `out`. Go's own cache makes a second build quick.
    pub(crate) fn build(&self, root: &Path, out: &Path) -> Result<Programs, String> {
        fs::create_dir_all(out).map_err(|e| format!("{}: {e}", out.display()))?;
        let rpcx = root.join("interop/rpcx");
        // These have no checksums in the repository (see interop/README.md).
        let (easymicro, iip) = (root.join("interop/easymicro"), root.join("interop/iip"));
        let netrpc = root.join("interop/netrpc");
        let netrpc =
            |package| self.unsummed(&netrpc, &format!("./{package}"), out.join(format!("netrpc-{package}")));
        let easymicro = |package| {
            self.unsummed(&easymicro, &format!("./{package}"), out.join(format!("easymicro-{package}")))
        };
        let iip = |package| self.unsummed(&iip, &format!("./{package}"), out.join(format!("iip-{package}")));
        let saber = root.join("interop/saber");
        let saber = |package, name| self.unsummed(&saber, package, out.join(format!("saber-{name}")));
        Ok(Programs {
            rpcx_client: self.program(&rpcx, "./client", out.join("rpcx-client"), &["-mod=readonly"])?,
            rpcx_server: self.program(&rpcx, "./server", out.join("rpcx-server"), &["-mod=readonly"])?,
            easymicro_client: easymicro("client")?,
            easymicro_server: easymicro("server")?,
            iip_client: iip("client")?,
            iip_server: iip("server")?,
            netrpc_client: netrpc("client")?,
            netrpc_server: netrpc("server")?,
            // The standard library only.
            gob: self.program(&root.join("interop/gob"), ".", out.join("gob-values"), &[])?,
            saber_node: saber("./node", "node")?,
            saber_stress_client: saber(&format!("{STRESS}/client"), "stress-client")?,
            saber_stress_server: saber(&format!("{STRESS}/server"), "stress-server")?,
        })
    }

    /// Builds a peer of the benchmarks. A module without checksums in the repository has its own beside the program.
    pub(crate) fn peer(&self, module: &Path, package: &str, to: &Path) -> Result<(), String> {
        let package = format!("./{package}");
        if module.join("go.sum").exists() {
            return self.program(module, &package, to.to_path_buf(), &["-mod=readonly"]).map(drop);
        }
        self.unsummed(module, &package, to.to_path_buf()).map(drop)
    }

    /// Builds a program of a module without checksums in the repository: they are kept beside the program.
    fn unsummed(&self, module: &Path, package: &str, to: PathBuf) -> Result<PathBuf, String> {
        let modfile = to.with_extension("mod");
        fs::copy(module.join("go.mod"), &modfile).map_err(|e| format!("{}: {e}", modfile.display()))?;
        let modfile = format!("-modfile={}", modfile.display());
        self.program(module, package, to, &["-mod=mod", &modfile])
    }

    fn program(&self, module: &Path, package: &str, to: PathBuf, flags: &[&str]) -> Result<PathBuf, String> {
        let status = Command::new("go")
            .args(["build", "-trimpath", "-o"])
            .arg(&to)
            .args(flags)
            .arg(package)
            .current_dir(module)
            .envs(self.env.iter().map(|(k, v)| (k, v)))
            .status()
            .map_err(|e| format!("go build: {e}"))?;
        if status.success() {
            Ok(to)
        } else {
            Err(format!("go build of {} in {} failed", package, module.display()))
        }
    }
}
