"""dSRVAE: a denoiser trained as a variational autoencoder, then a super-resolution network."""
