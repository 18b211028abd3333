"""Any points in any picture: markups, crops, augmentation, errors, what finds them on a photo."""
