# Turn a Debian root filesystem with apt into one with dnf; the release comes with the next layer.
set -eu
hidden=/usr/lib/provision-stand-in
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
apt-get -qq --auto-remove -o Dpkg::Options::=--force-unsafe-io purge initramfs-tools-core > /dev/null
apt-get -qq --no-install-recommends -o Dpkg::Options::=--force-unsafe-io install "$@" > /dev/null
systemctl --quiet disable chrony.service e2scrub_all.timer e2scrub_reap.service fstrim.timer
systemctl --quiet mask dnf-makecache.timer dnf-automatic.timer dnf-automatic-install.timer
rm -rf /var/lib/apt/lists /var/cache/apt

# Rocky's names of what Debian calls otherwise.
sed -i -e '/^Alias=/d' -e 's|^\(ExecStart=.*chronyd\)|\1 -f /etc/chrony.conf|' /usr/lib/systemd/system/chrony.service
mv /usr/lib/systemd/system/chrony.service /usr/lib/systemd/system/chronyd.service
mv /etc/chrony/chrony.conf /etc/chrony.conf
ln -s update-alternatives /usr/bin/alternatives

rm -rf /usr/share/initramfs-tools
# An initramfs with everything in it takes ten seconds, and no host here starts from one.
cat > /usr/lib/dracut/dracut.conf.d/10-provision-stand-in.conf <<end
dracutmodules=" base kernel-modules "
do_strip="no"
early_microcode="no"
compress="cat"
end

# The layout of certificates, and the program that renews it.
install -m 755 update-ca-trust /usr/bin/update-ca-trust
mkdir -p /etc/pki/ca-trust/source/anchors /etc/pki/rpm-gpg /etc/pki/tls/certs /etc/pki/tls/private
rm -r /etc/ssl/certs
ln -s /etc/pki/tls/certs /etc/ssl/certs
# Debian's programs look for the last of these names.
for name in cert.pem certs/ca-bundle.crt certs/ca-certificates.crt; do
    ln -s /etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem "/etc/pki/tls/$name"
done
find /usr/local/share/ca-certificates -name '*.crt' -exec mv -t /etc/pki/ca-trust/source/anchors {} +
update-ca-trust

# dnf as Rocky has it.
cat > /etc/dnf/dnf.conf <<end
[main]
gpgcheck=1
installonly_limit=3
clean_requirements_on_remove=True
best=True
skip_if_unavailable=False
end
# Rocky installs no such plugins, and some of these cannot work here.
for plugin in expired-pgp-keys leaves local modulesync post-transaction-actions pre-transaction-actions show_leaves \
    system_upgrade; do
    rm -f "/usr/lib/python3/dist-packages/dnf-plugins/$plugin.py" "/etc/dnf/plugins/$plugin.conf"
done
rm -rf /etc/dnf/plugins/*-transaction-actions.d /etc/dnf/aliases.d/zypper.conf
mkdir -p /etc/yum.repos.d
ln -s dnf /usr/bin/yum
printf 'rocky\n' > /etc/dnf/vars/contentdir
rpm --initdb

# apt and its kind go where nothing looks for them.
mkdir -p "$hidden/bin"
for program in /usr/bin/apt /usr/bin/apt-* /usr/bin/dpkg /usr/bin/dpkg-* /usr/bin/debconf* /usr/sbin/update-ca-certificates \
    /usr/sbin/adduser /usr/sbin/addgroup /usr/sbin/deluser /usr/sbin/delgroup /usr/sbin/start-stop-daemon \
    /usr/sbin/dpkg-* /usr/sbin/update-initramfs /usr/bin/deb-systemd-*; do
    [ ! -e "$program" ] || mv "$program" "$hidden/bin"
done
mv /etc/apt "$hidden/etc-apt"
find /usr/lib/systemd/system /etc/systemd/system \( -name 'apt-*' -o -name 'dpkg-*' \) -delete
rm -f /etc/debian_version /etc/issue /etc/issue.net /etc/cron.daily/apt-compat /etc/cron.daily/dpkg
