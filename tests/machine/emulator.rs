//! The machine under qemu: a kernel of its own, with everything in it.

use std::path::Path;
use std::process::{Command, Stdio};

use super::shown::Shown;

/// The machine's parts. It gets no network.
pub fn command(image: &Path, without_ipv6: bool, shown: &Shown) -> Command {
    let Shown { source, built, program, .. } = shown;
    let more = if without_ipv6 { "ipv6.disable=1" } else { "" };
    let words = format!(
        "console=ttyS0 root=/dev/vda rw panic=-1 {more} \
         stories.source={source} stories.built={built} stories.program={program}"
    );
    let of_image = |name: &str| image.join(name).display().to_string();
    let share = |tag: &str, path: &str| {
        format!("local,path={path},mount_tag={tag},security_model=none,readonly=on,multidevs=remap")
    };
    let mut qemu = Command::new("qemu-system-x86_64");
    // The emulator: KVM is not there on a machine that is itself a guest, or crashes.
    qemu.args(["-accel", "tcg", "-nodefaults", "-display", "none", "-nic", "none"]);
    qemu.args(["-m", "1024", "-smp", "2", "-device", "virtio-rng-pci"]);
    qemu.args(["-kernel", &of_image("kernel"), "-initrd", &of_image("ramdisk"), "-append", &words]);
    qemu.args(["-drive", &format!("file={},format=raw,if=virtio,snapshot=on", of_image("disk"))]);
    qemu.args(["-serial", &format!("file:{}", shown.console().display())]);
    qemu.args([
        "-device",
        "virtio-serial-pci",
        "-chardev",
        &format!("socket,id=wire,path={}", shown.wire().display()),
    ]);
    qemu.args(["-device", "virtserialport,chardev=wire,name=stories"]);
    qemu.args(["-virtfs", &share("source", source), "-virtfs", &share("built", built)]);
    qemu.stdin(Stdio::null()).stdout(Stdio::null());
    qemu
}
