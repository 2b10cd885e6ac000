//! The web interface is taken into the binary as it was built last.

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=dashboards/web/dist");
}
