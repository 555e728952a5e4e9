# An EKS cluster with one group of nodes for the apps and, if asked for, one with GPUs for the engines.

resource "aws_kms_key" "this" {
  description             = "Secrets and node disks of the ${var.name} cluster"
  enable_key_rotation     = true
  deletion_window_in_days = 30
}

resource "aws_cloudwatch_log_group" "control_plane" {
  name              = "/aws/eks/${var.name}/cluster"
  retention_in_days = var.log_retention_days
}

resource "aws_eks_cluster" "this" {
  name     = var.name
  version  = var.kubernetes_version
  role_arn = aws_iam_role.cluster.arn

  enabled_cluster_log_types = ["api", "audit", "authenticator"]

  # The add-ons below are installed with settings of their own, which copies put there by EKS would be in the way of.
  bootstrap_self_managed_addons = false

  access_config {
    authentication_mode                         = "API"
    bootstrap_cluster_creator_admin_permissions = true
  }

  encryption_config {
    resources = ["secrets"]

    provider {
      key_arn = aws_kms_key.this.arn
    }
  }

  vpc_config {
    subnet_ids              = var.subnet_ids
    endpoint_private_access = true
    endpoint_public_access  = length(var.api_cidrs) > 0
    public_access_cidrs     = length(var.api_cidrs) > 0 ? var.api_cidrs : null
  }

  depends_on = [aws_iam_role_policy_attachment.cluster, aws_cloudwatch_log_group.control_plane]
}

# Network policies are what keeps everybody but the inference app away from Ray, so the plugin must enforce them.
resource "aws_eks_addon" "network" {
  cluster_name         = aws_eks_cluster.this.name
  addon_name           = "vpc-cni"
  configuration_values = jsonencode({ enableNetworkPolicy = "true" })
}

resource "aws_eks_addon" "base" {
  for_each = toset(["kube-proxy", "eks-pod-identity-agent"])

  cluster_name = aws_eks_cluster.this.name
  addon_name   = each.key
}

# These run pods of their own and only become active once there are nodes.
resource "aws_eks_addon" "names" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "coredns"

  depends_on = [aws_eks_node_group.apps]
}

resource "aws_eks_addon" "disks" {
  cluster_name = aws_eks_cluster.this.name
  addon_name   = "aws-ebs-csi-driver"

  configuration_values = jsonencode({ defaultStorageClass = { enabled = true } })

  pod_identity_association {
    role_arn        = aws_iam_role.disks.arn
    service_account = "ebs-csi-controller-sa"
  }

  depends_on = [aws_eks_node_group.apps, aws_eks_addon.base]
}

# A hop limit of 1 keeps the node's credentials away from pods.
resource "aws_launch_template" "nodes" {
  for_each = local.groups

  name_prefix = "${var.name}-${each.key}-"

  block_device_mappings {
    device_name = "/dev/xvda"

    ebs {
      volume_type = "gp3"
      volume_size = each.value.disk_gib
      encrypted   = true
    }
  }

  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }
}

locals {
  groups = merge(
    { apps = { disk_gib = var.apps_nodes.disk_gib } },
    var.gpu_nodes == null ? {} : { gpu = { disk_gib = var.gpu_nodes.disk_gib } },
  )
}

resource "aws_eks_node_group" "apps" {
  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "apps"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  ami_type        = "AL2023_x86_64_STANDARD"
  instance_types  = var.apps_nodes.instance_types

  launch_template {
    id      = aws_launch_template.nodes["apps"].id
    version = aws_launch_template.nodes["apps"].latest_version
  }

  scaling_config {
    desired_size = var.apps_nodes.size_min
    min_size     = var.apps_nodes.size_min
    max_size     = var.apps_nodes.size_max
  }

  update_config {
    max_unavailable = 1
  }

  labels = { "finpool.dev/nodes" = "apps" }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [aws_iam_role_policy_attachment.nodes, aws_eks_addon.network]
}

resource "aws_eks_node_group" "gpu" {
  count = var.gpu_nodes == null ? 0 : 1

  cluster_name    = aws_eks_cluster.this.name
  node_group_name = "gpu"
  node_role_arn   = aws_iam_role.nodes.arn
  subnet_ids      = var.subnet_ids
  ami_type        = "AL2023_x86_64_NVIDIA"
  instance_types  = var.gpu_nodes.instance_types

  launch_template {
    id      = aws_launch_template.nodes["gpu"].id
    version = aws_launch_template.nodes["gpu"].latest_version
  }

  scaling_config {
    desired_size = var.gpu_nodes.size_min
    min_size     = var.gpu_nodes.size_min
    max_size     = var.gpu_nodes.size_max
  }

  update_config {
    max_unavailable = 1
  }

  labels = { "finpool.dev/nodes" = "gpu" }

  # Only engines tolerate this, so nothing else takes room on nodes that cost ten times as much.
  taint {
    key    = "nvidia.com/gpu"
    value  = "present"
    effect = "NO_SCHEDULE"
  }

  lifecycle {
    ignore_changes = [scaling_config[0].desired_size]
  }

  depends_on = [aws_iam_role_policy_attachment.nodes, aws_eks_addon.network]
}
