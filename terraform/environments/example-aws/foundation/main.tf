# The first of two layers: what costs money and keeps data. The platform goes on top once the cluster answers.

data "aws_partition" "current" {}

module "network" {
  source = "../../../modules/network"

  name  = var.name
  cidr  = var.cidr
  zones = var.zones
}

module "cluster" {
  source = "../../../modules/cluster"

  name       = var.name
  partition  = data.aws_partition.current.partition
  subnet_ids = module.network.private_subnet_ids
  api_cidrs  = var.api_cidrs
  gpu_nodes  = var.gpu_nodes
}

module "database" {
  source = "../../../modules/database"

  name                     = var.name
  vpc_id                   = module.network.vpc_id
  subnet_ids               = module.network.private_subnet_ids
  client_security_group_id = module.cluster.security_group_id
}
