# Prints the first Python that can run modules, preferably that of the distribution. Day-two commands use it, too.
for python in /usr/bin/python3 /usr/bin/python3.14 /usr/bin/python3.13 /usr/bin/python3.12 \
    /usr/bin/python3.11 /usr/bin/python3.10 /usr/bin/python3.9 /usr/bin/python3.8; do
  if [ -x "$python" ] && "$python" -c 'import sys; sys.exit(sys.version_info < (3, 8))' 2> /dev/null; then
    echo "python=$python"
    break
  fi
done
