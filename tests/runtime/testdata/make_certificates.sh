#!/bin/sh
# Makes the certificates of this directory anew; needs OpenSSL 3. See README.md.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
cd "$scratch"
from=20200101000000Z
until=21200101000000Z
echo 01 > crlnumber
: > index.txt
cat > ca.conf <<'CONF'
[ca]
default_ca = d
[d]
database = index.txt
new_certs_dir = .
crlnumber = crlnumber
serial = serial
default_md = sha256
policy = p
unique_subject = no
copy_extensions = none
[p]
commonName = supplied
CONF

request() { # file name, common name
  openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj "/CN=$2" -keyout "$1.key.pem" -out "$1.csr"
}

certificate() { # file name, common name, serial number, key usage, subject alternative names
  request "$1" "$2"
  printf 'basicConstraints=CA:FALSE\nextendedKeyUsage=%s\nsubjectAltName=%s\n' "$4" "$5" > ext
  echo "$3" > serial
  openssl ca -batch -notext -config ca.conf -startdate $from -enddate $until -in "$1.csr" -extfile ext \
    -out "$1.pem" -keyfile ca.key.pem -cert ca.pem
}

self_signed() { # file name, common name, serial number, extensions
  request "$1" "$2"
  printf '%b' "$4" > ext
  echo "$3" > serial
  openssl ca -batch -notext -config ca.conf -selfsign -startdate $from -enddate $until -in "$1.csr" \
    -extfile ext -out "$1.pem" -keyfile "$1.key.pem"
}

authority='basicConstraints=critical,CA:TRUE\nkeyUsage=critical,keyCertSign,cRLSign\nsubjectKeyIdentifier=hash\n'
self_signed ca "test authority" 01 "$authority"
self_signed other_ca "another test authority" 02 "$authority"
self_signed stranger alice 03 'extendedKeyUsage=clientAuth\n'
certificate server localhost 1001 serverAuth DNS:localhost,IP:127.0.0.1,IP:::1
certificate renewed localhost 1002 serverAuth DNS:localhost,IP:127.0.0.1,IP:::1
certificate client alice 2001 clientAuth DNS:alice.example,IP:127.0.0.1
certificate revoked mallory 2002 clientAuth DNS:mallory.example

openssl ca -config ca.conf -keyfile ca.key.pem -cert ca.pem -revoke revoked.pem
openssl ca -config ca.conf -keyfile ca.key.pem -cert ca.pem -gencrl -crldays 36500 -out revoked.crl.pem
rm ca.key.pem other_ca.key.pem
for name in ca other_ca server renewed client revoked stranger; do cp "$name.pem" "$here"; done
for name in server renewed client revoked stranger; do cp "$name.key.pem" "$here"; done
cp revoked.crl.pem "$here"
