"""Weight files: reference names to our pytree and back, safetensors."""
