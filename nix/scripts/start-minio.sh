# Hands the secret key over in the environment, never on the command line. $1, $2: addresses of the API and the console.

MINIO_ROOT_PASSWORD=$(value S3_SECRET_ACCESS_KEY)
export MINIO_ROOT_PASSWORD
mkdir -p "$MINIO_DATA_DIR" "$MINIO_CONFIG_DIR"
exec minio server --quiet --address "$1" --console-address "$2" --certs-dir "$MINIO_CONFIG_DIR" "$MINIO_DATA_DIR"
