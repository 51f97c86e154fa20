//! A backup whose static addresses wanfo puts on its interface.

use crate::lab::SERVICE;
use crate::site::{Site, shipped, strip};

pub fn a_static_backup_needs_nobody_else_and_takes_a_new_address_without_a_reboot() {
    let site = Site::of("static-backup", &["eth0", "eth1"]);
    // As at boot: nobody has touched it.
    strip(&site.router, "eth1");
    site.router.ip("link set eth1 down");
    site.load_nft(&site.router, "/etc/nftables.conf");
    site.check();
    assert_eq!(site.problems(), "");
    site.assert_lan_is_served_over(1);
    site.pull_cable(1);
    site.check();
    assert_eq!(site.active(), "dsl");
    site.assert_lan_is_served_over(2);
    site.plug_in(1);
    site.comes_back("fibre");
    site.assert_lan_is_served_over(1);

    let changed = shipped("static-backup.yaml").replace("192.0.2.18/28", "192.0.2.21/28");
    site.router.write("/etc/wanfo/wanfo.yaml", &changed);
    site.check();
    let addresses = site.router.ip("address show dev eth1");
    assert!(addresses.contains("192.0.2.21/28") && !addresses.contains("192.0.2.18/28"), "{addresses}");
    assert!(addresses.contains("2001:db8:2::2/64"), "{addresses}");
    site.succeeds(&["force-failover"]);
    site.assert_served_over(2, SERVICE);
}
