# Makes headers for kernel $1 at $2: Debian's, which the image has, under this kernel's name, so that what is
# compiled against them has this kernel's vermagic.
release=$1 folder=$2
arch=/usr/lib/provision-stand-in/headers
[ -e $arch/ ] || arch=$(ls -d /usr/src/linux-headers-6.*-amd64 2>/dev/null | sort --version-sort | tail -n 1)
arch=$(readlink -f "$arch")
[ -n "$arch" ] || { echo "the simulated kernel headers need Debian's linux-headers-amd64" >&2; exit 1; }
mkdir -p "$folder/include/config" "$folder/include/generated"
for file in .config Module.symvers arch scripts tools Makefile; do ln -sfn "$arch/$file" "$folder/$file"; done
for file in "$arch"/include/config/auto.conf* "$arch"/include/generated/*; do
    part=${file#"$arch"/}
    ln -sfn "$file" "$folder/$part"
done
rm -f "$folder/include/generated/utsrelease.h"
echo "$release" >"$folder/include/config/kernel.release"
echo "#define UTS_RELEASE \"$release\"" >"$folder/include/generated/utsrelease.h"
sed "s/^override KERNELRELEASE = .*/override KERNELRELEASE = $release/" "$arch/.kernelvariables" >"$folder/.kernelvariables"
