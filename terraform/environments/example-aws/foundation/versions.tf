terraform {
  required_version = ">= 1.9, < 2.0"

  # Bucket, key, region and lock are given at init: terraform init -backend-config=backend.hcl
  backend "s3" {
    encrypt = true
  }

  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "5.100.0"
    }
  }
}

provider "aws" {
  region = var.region

  default_tags {
    tags = { installation = var.name, "managed-by" = "terraform" }
  }
}
