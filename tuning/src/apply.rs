//! How a host is brought to a profile by hand: the commands, printed and never run.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use crate::probe::Reading;
use crate::{Host, Item, Profile};

/// What to do about one item, a line each. What the host has not named stands as in the profile.
#[must_use]
pub fn lines(item: &Item, host: &Host) -> Vec<String> {
    let fill = |text: &str| host.fill(text).unwrap_or_else(|_| text.to_owned());
    let mut lines = Vec::new();
    lines.extend(item.fix.kernel.iter().map(|word| format!("kernel command line: {} (reboot)", fill(word))));
    lines.extend(item.fix.sysctl.iter().map(|(name, value)| format!("sysctl -w {name}='{}'", fill(value))));
    if let (Some(value), Some(path)) = (&item.fix.write, item.probe.path()) {
        lines.push(write_line(&fill(value), &fill(path)));
    }
    lines.extend(item.fix.unit.iter().map(|line| format!("unit of the node, [Service]: {}", fill(line))));
    lines.extend(item.fix.command.iter().map(|command| fill(command)));
    lines.extend(item.fix.note.iter().map(|note| fill(note)));
    lines
}

fn write_line(value: &str, path: &str) -> String {
    match path.contains('*') {
        true => format!("for f in {path}; do echo {value} > \"$f\"; done"),
        false => format!("echo {value} > {path}"),
    }
}

/// A shell script that brings `host` to `profile`: only what does not hold yet, with the reason of each. It is for a
/// person to read, and to run as root.
#[must_use]
pub fn script(profile: &Profile, host: &Host) -> String {
    let unmet = |item: &&Item| matches!(item.probe.read(host), Reading::Unmet(_));
    let items: Vec<_> = profile.items.iter().filter(unmet).collect();
    let fill = |text: &str| host.fill(text).unwrap_or_else(|_| text.to_owned());
    let mut text = format!(
        "#!/bin/sh\n# Brings this host to the profile {}. Read it, then run it as root.\nset -eu\n",
        profile.name
    );
    let mut say = |line: String| {
        text.push_str(&line);
        text.push('\n');
    };
    let kernel: Vec<String> = items.iter().flat_map(|item| &item.fix.kernel).map(|word| fill(word)).collect();
    if !kernel.is_empty() {
        say("\n# The kernel's command line; it takes a reboot.".into());
        say("mkdir -p /etc/default/grub.d".into());
        say("cat > /etc/default/grub.d/ironbell.cfg <<'EOF'".into());
        say(format!("GRUB_CMDLINE_LINUX_DEFAULT=\"$GRUB_CMDLINE_LINUX_DEFAULT {}\"", kernel.join(" ")));
        say("EOF\nupdate-grub".into());
    }
    let sysctl: BTreeMap<&String, String> =
        items.iter().flat_map(|item| &item.fix.sysctl).map(|(name, value)| (name, fill(value))).collect();
    if !sysctl.is_empty() {
        say("\n# Kernel parameters.\ncat > /etc/sysctl.d/90-ironbell.conf <<'EOF'".into());
        sysctl.into_iter().for_each(|(name, value)| say(format!("{name} = {value}")));
        say("EOF\nsysctl --system".into());
    }
    let unit: Vec<String> = items.iter().flat_map(|item| &item.fix.unit).map(|line| fill(line)).collect();
    if !unit.is_empty() {
        say("\n# The node's unit.\nmkdir -p /etc/systemd/system/ironbell.service.d".into());
        say("cat > /etc/systemd/system/ironbell.service.d/90-host.conf <<'EOF'\n[Service]".into());
        unit.into_iter().for_each(&mut say);
        say("EOF\nsystemctl daemon-reload".into());
    }
    for item in &items {
        let mut own = Vec::new();
        if let (Some(value), Some(path)) = (&item.fix.write, item.probe.path()) {
            own.push(write_line(&fill(value), &fill(path)));
        }
        own.extend(item.fix.command.iter().map(|command| fill(command)));
        own.extend(item.fix.note.iter().map(|note| format!("# By hand: {}", fill(note))));
        if !own.is_empty() {
            say(format!("\n# {}: {}", item.what, item.why));
            own.into_iter().for_each(&mut say);
        }
    }
    if items.is_empty() {
        let _ = writeln!(text, "# Nothing is to be done.");
    }
    text
}
